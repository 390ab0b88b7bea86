"""Versions by their references: finding the way from what is held, fetching it and applying it.

    wanted ──shortest way──► a held version, or the base ──► apply each leg, oldest first
                                                             └── the next are fetched meanwhile

Versions are applied on the one loading thread; requests meet only finished ones.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from millstream_api.manifest import Redacted
from millstream_core.checkpoint import find_way, read_ahead
from millstream_core.erasure.entries import read_ledger
from millstream_core.evaluation import GoldenEvents
from millstream_core.store import IntegrityError, ObjectMissing
from millstream_core.tables.versioned import TableVersion, VersionedTable
from millstream_serving.engine.agreement import in_reduced_precision
from millstream_serving.engine.architectures import network_of
from millstream_serving.engine.layouts import MisshapenWeights
from millstream_serving.engine.trials import UnfitGraph
from millstream_serving.engine.versions import ModelVersion
from millstream_serving.loading.checks import Refused, Unsettled, refuse_state, serve_columns
from millstream_serving.loading.fetching import fetch
from millstream_serving.loading.forgetting import Forgetting
from millstream_serving.loading.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_core.checkpoint import Leg, TableRows
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.store import ModelStore
    from millstream_serving.loading.fetching import Files

Tables = dict[str, TableVersion]

log = logging.getLogger(__name__)


class Shelf:
    """The versions that this process holds, and the tables whose rows they share."""

    def __init__(
        self, store: ModelStore, pool: Executor, has_users: Callable[[], bool] = lambda: False
    ) -> None:
        """Hold nothing.

        Args:
            store: where versions come from.
            pool: fetches in parallel.
            has_users: whether work on a version keeps anybody from an answer; asked at every leg.
        """
        self.held: dict[str, ModelVersion] = {}  # by digest
        self._store = store
        self._pool = pool
        self._has_users = has_users
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._tables: dict[str, dict[str, VersionedTable]] = {}  # by lineage
        self._forgetting = Forgetting()

    @property
    def bytes(self) -> int:
        """Memory of the rows and maps of all versions together."""
        return sum(
            table.bytes for tables in list(self._tables.values()) for table in tables.values()
        )

    def drop_all_but(self, digests: set[str]) -> None:
        """Let other versions go; their rows are taken again once no request uses them."""
        self.held = {digest: held for digest, held in self.held.items() if digest in digests}
        lineages = {held.ref.lineage for held in self.held.values()}
        self._tables = {key: tables for key, tables in self._tables.items() if key in lineages}

    @property
    def ledger(self) -> Ledger:
        """The erased keys that nothing held here answers for."""
        return self._forgetting.ledger

    def forget(self, ledger: Ledger) -> None:
        """Have no version answer for what was erased, from now on."""
        self._forgetting.learn(ledger)
        self.held = {digest: self._forgetting.forgotten(held) for digest, held in self.held.items()}

    def reduce(self) -> bool:
        """Have one more version answer in reduced precision; False where none is left to try."""
        for digest, held in self.held.items():
            if held.agreement is None:
                tried = in_reduced_precision(held, Pace().rest)
                if tried is not held:
                    self.held[digest] = tried
                    return True
        return False

    def load(
        self,
        ref: VersionRef,
        is_wanted: Callable[[str], bool],
        loaded: Callable[[ModelVersion], None],
        stops: Iterable[VersionRef] = (),
    ) -> None:
        """Make a version available, and with it the wanted ones on the way.

        Args:
            ref: the version.
            is_wanted: whether the version of this digest is to be held; asked at every step.
            loaded: told of each version that is held now.
            stops: versions not to be passed by on the way.

        Raises:
            Refused: it, or a version below it, must not serve.
            Unsettled: not until an erasure is finished.
            StoreUnavailable, AccessDenied: the store did not do its part.
        """
        try:
            self._load(ref, is_wanted, loaded, stops)
        except IntegrityError as error:
            raise Refused(error.reason, str(error)) from error
        except ObjectMissing as error:
            raise Refused("Truncated", str(error)) from error
        except MemoryError as error:
            raise Refused("InsufficientMemory", str(error)) from error

    def _load(
        self,
        ref: VersionRef,
        is_wanted: Callable[[str], bool],
        loaded: Callable[[ModelVersion], None],
        stops: Iterable[VersionRef],
    ) -> None:
        failure: Refused | IntegrityError | ObjectMissing | None = None
        for start, legs in self._ways(ref, stops):
            try:
                self._follow(start, legs, is_wanted, loaded)
            except (Refused, IntegrityError, ObjectMissing) as error:
                log.warning(
                    "a way to version %d fails: %s",
                    ref.version,
                    error,
                    extra={"version": ref.version},
                )
                failure = error
                is_settled = self._is_settled(start, legs)
            else:
                return
        assert failure is not None
        if not is_settled:
            raise Unsettled(str(failure)) from failure
        raise failure

    def _ways(
        self, ref: VersionRef, stops: Iterable[VersionRef]
    ) -> Iterator[tuple[VersionRef | None, list[Leg]]]:
        """One way after the other, each asked for when the one before has failed."""
        held = [held.ref for held in self.held.values()]
        way = partial(find_way, self._store, ref, stops=stops, groups=("serve",))
        start, legs = way(held=held)
        yield start, legs
        if self._store.look_again(ref.lineage) or any(leg.shortcut for leg in legs):
            log.warning("going by steps to version %d", ref.version, extra={"version": ref.version})
            start, legs = way(held=held, shortcuts=False)
            yield start, legs
        if start is not None and isinstance(legs[0].manifest, Redacted):
            # What is held was written before, and may mention an item that is gone by now.
            yield way(held=(), shortcuts=False)

    def _is_settled(self, start: VersionRef | None, legs: Sequence[Leg]) -> bool:
        """Whether no version on a way was written before keys were erased below it."""
        seqs = [leg.manifest.erasure_seq for leg in reversed(legs)]
        if start is not None:
            seqs.insert(0, self.held[start.digest].manifest.erasure_seq)
        return seqs == sorted(seqs)

    def _collect(self) -> None:
        """Have rows taken again that neither a held version nor a request uses any more."""
        for tables in self._tables.values():
            for table in tables.values():
                table.collect()

    def _follow(
        self,
        start: VersionRef | None,
        legs: list[Leg],
        is_wanted: Callable[[str], bool],
        loaded: Callable[[ModelVersion], None],
    ) -> None:
        """Apply the legs until the last one's version is held, or nobody wants it any more."""
        below = None if start is None else self.held[start.digest]
        self._know_of(max(leg.manifest.erasure_seq for leg in legs))
        parents = [*(leg.manifest for leg in legs[1:]), None if below is None else below.manifest]
        reads = [
            partial(fetch, self._store, self._pool, leg, parent)
            for leg, parent in zip(legs, parents, strict=True)
        ]
        with closing(read_ahead(reversed(reads), self._thread)) as fetched:
            for leg, files in zip(reversed(legs), fetched, strict=True):
                self._collect()
                below = self._applied(leg, files, below)
                if is_wanted(below.ref.digest):
                    self.held[below.ref.digest] = below
                    loaded(below)
                if not is_wanted(legs[0].target.digest):
                    return

    def _know_of(self, seq: int) -> None:
        """Have the ledger up to an entry that a writer has known of."""
        if seq > self.ledger.seq:
            self.forget(read_ledger(self._store, self.ledger))
        if seq > self.ledger.seq:
            raise IntegrityError(
                "LineageBroken", f"it knows of erasure {seq}, the ledger ends at {self.ledger.seq}"
            )

    def _applied(self, leg: Leg, files: Files, below: ModelVersion | None) -> ModelVersion:
        ref, manifest, is_whole = leg.target, leg.manifest, leg.since is None
        graph = files.graph
        if graph is None and below is not None:
            graph = below.graph
        try:
            network = network_of(manifest.architecture, files.dense, graph)
        except (MisshapenWeights, UnfitGraph) as error:
            raise Refused("Malformed", f"version {manifest.version}: {error}") from error
        storage = self._storage(manifest)
        rest = Pace().rest if self._has_users() else _not_at_all
        sharing = self._kin(ref.lineage) if is_whole else self._below(below, manifest)
        tables = {
            name: _loaded(manifest, name, storage[name], rows, sharing, rest, is_whole=is_whole)
            for name, rows in files.tables.items()
        }
        features = files.features
        if features is None:
            assert below is not None
            features = below.features
        version = ModelVersion(
            ref=ref,
            manifest=manifest,
            network=network,
            graph=graph,
            features=features,
            written=tables,
            tables=tables,
            rows={},
            popular=files.dense["candidates.popular"],
            newest=files.dense["candidates.new"],
            golden=GoldenEvents.of(files.dense),
        )
        version = self._forgetting.forgotten(version)
        since = "nothing" if leg.since is None else f"version {leg.since}"
        log.info(
            "version %d is applied on top of %s",
            manifest.version,
            since,
            extra={"version": manifest.version},
        )
        return version

    def _storage(self, manifest: Manifest) -> dict[str, VersionedTable]:
        columns = serve_columns(manifest)
        tables = self._tables.setdefault(
            manifest.lineage, {name: VersionedTable(columns[name]) for name in columns}
        )
        if {name: table.columns for name, table in tables.items()} != columns:
            raise Refused(
                "ColumnsMismatch",
                f"version {manifest.version}: other versions of lineage {manifest.lineage} have "
                "other columns: publish a new lineage",
            )
        return tables

    def _kin(self, lineage: str) -> Tables | None:
        """The newest held tables of a lineage: a new base of it repeats most of their rows."""
        kin = [held for held in self.held.values() if held.ref.lineage == lineage]
        newest = max(kin, key=lambda held: held.ref.version, default=None)
        return None if newest is None else newest.written

    def _below(self, below: ModelVersion | None, manifest: Manifest) -> Tables:
        """The tables that a delta goes on from, as its writer had them."""
        assert below is not None
        return {
            name: self._forgetting.without(
                name, table, after=below.manifest.erasure_seq, upto=manifest.erasure_seq
            )
            for name, table in below.written.items()
        }


def _loaded(
    manifest: Manifest,
    name: str,
    storage: VersionedTable,
    rows: TableRows,
    below: Tables | None,
    rest: Callable[[], None],
    *,
    is_whole: bool,
) -> TableVersion:
    applied = storage.load(
        None if below is None else below[name],
        rows.keys,
        rows.columns,
        rows.gone if not is_whole else np.empty(0, np.int64),
        whole=is_whole,
        rest=rest,
    )
    refuse_state(manifest, name, applied)
    return applied


def _not_at_all() -> None:
    """Nobody is asked for an answer yet: what is needed for that is worked on without a rest."""
