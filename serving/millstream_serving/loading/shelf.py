"""Versions by their references: finding the way from what is held, fetching it and applying it.

    wanted ──shortest way──► a held version, or the base ──► apply each leg, oldest first
                                                             └── the next are fetched meanwhile

Versions are applied on the one loading thread; requests meet only finished ones.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_core.checkpoint import find_way, leg_tables, read_ahead, read_dense, read_table
from millstream_core.features import ContextFeatures, Transform
from millstream_core.store import IntegrityError, ObjectMissing
from millstream_core.tables.versioned import TableVersion, VersionedTable
from millstream_serving.engine.networks import MisshapenWeights, prepare, prepare_context
from millstream_serving.engine.rows import rows_of
from millstream_serving.engine.versions import ModelVersion
from millstream_serving.loading.checks import (
    Refused,
    Step,
    embeddings,
    refuse_dense,
    refuse_misfit,
    refuse_rows,
    refuse_state,
    serve_columns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_core.checkpoint import Leg, TableRows
    from millstream_core.store import ModelStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Files:
    """What a version brings, verified and checked."""

    features: ContextFeatures | None  # None: those of the version below
    dense: dict[str, NDArray[Any]]
    tables: dict[str, TableRows]


class Shelf:
    """The versions that this process holds, and the tables whose rows they share."""

    def __init__(self, store: ModelStore, pool: Executor) -> None:
        """Hold nothing.

        Args:
            store: where versions come from.
            pool: fetches in parallel.
        """
        self.held: dict[str, ModelVersion] = {}  # by digest
        self._store = store
        self._pool = pool
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._tables: dict[str, dict[str, VersionedTable]] = {}  # by lineage

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
            StoreUnavailable, AccessDenied: the store did not do its part.
        """
        try:
            start, legs = self._way_to(ref, stops, shortcuts=True)
            try:
                self._follow(start, legs, is_wanted, loaded)
            except (Refused, IntegrityError, ObjectMissing) as error:
                if all(leg.shortcut is None for leg in legs):
                    raise
                log.warning(
                    "a shorter way to version %d fails, going by steps: %s", ref.version, error
                )
                self._follow(*self._way_to(ref, stops, shortcuts=False), is_wanted, loaded)
        except IntegrityError as error:
            raise Refused(error.reason, str(error)) from error
        except ObjectMissing as error:
            raise Refused("Truncated", str(error)) from error
        except MemoryError as error:
            raise Refused("InsufficientMemory", str(error)) from error

    def _collect(self) -> None:
        """Have rows taken again that neither a held version nor a request uses any more."""
        for tables in self._tables.values():
            for table in tables.values():
                table.collect()

    def _way_to(
        self, ref: VersionRef, stops: Iterable[VersionRef], *, shortcuts: bool
    ) -> tuple[VersionRef | None, list[Leg]]:
        """The held version to start from, if any, and the legs from there, newest first."""
        return find_way(
            self._store,
            ref,
            held=[held.ref for held in self.held.values()],
            stops=stops,
            groups=("serve",),
            shortcuts=shortcuts,
        )

    def _follow(
        self,
        start: VersionRef | None,
        legs: list[Leg],
        is_wanted: Callable[[str], bool],
        loaded: Callable[[ModelVersion], None],
    ) -> None:
        """Apply the legs until the last one's version is held, or nobody wants it any more."""
        below = None if start is None else self.held[start.digest]
        parents = [*(leg.manifest for leg in legs[1:]), None if below is None else below.manifest]
        reads = [
            partial(self._fetch, leg, parent) for leg, parent in zip(legs, parents, strict=True)
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

    def _fetch(self, leg: Leg, parent: Manifest | None) -> _Files:
        """Fetch and check what a leg brings; none of it is applied."""
        manifest, wanted = leg.manifest, leg_tables(self._store, leg)
        is_known = parent is not None and parent.transform == manifest.transform
        transform = None if is_known else self._store.transform(manifest.transform)
        refuse_misfit(
            Step(
                ref=leg.target,
                manifest=manifest,
                parent=parent,
                transform=transform,
                tables=wanted,
            )
        )
        dense = read_dense(self._store, manifest, "serve")
        refuse_dense(manifest.version, dense)
        tables = {
            name: read_table(self._store, self._pool, manifest.lineage, table, groups=("serve",))
            for name, table in wanted.items()
        }
        for name, rows in tables.items():
            refuse_rows(manifest, name, rows)
        features = None
        if transform is not None:
            features = ContextFeatures(Transform.parse(transform).features)
        return _Files(features, dense, tables)

    def _applied(self, leg: Leg, files: _Files, below: ModelVersion | None) -> ModelVersion:
        ref, manifest, is_whole = leg.target, leg.manifest, leg.since is None
        try:
            weights = prepare(manifest.architecture, files.dense)
        except MisshapenWeights as error:
            raise Refused("Malformed", f"version {manifest.version}: {error}") from error
        storage = self._storage(manifest)
        sharing = self._kin(ref.lineage) if is_whole else below
        tables = {
            name: _loaded(manifest, name, storage[name], rows, sharing, is_whole=is_whole)
            for name, rows in files.tables.items()
        }
        features = files.features
        if features is None:
            assert below is not None
            features = below.features
        version = ModelVersion(
            ref=ref,
            manifest=manifest,
            weights=weights,
            features=features,
            context_part=prepare_context(manifest.architecture, files.dense),
            tables=tables,
            rows={
                name: rows_of(
                    tables[name], manifest.tables[name].default, manifest.tables[name].multi_hash
                )
                for name in embeddings(manifest.architecture)
            },
            popular=files.dense["candidates.popular"],
            newest=files.dense["candidates.new"],
        )
        since = "nothing" if leg.since is None else f"version {leg.since}"
        log.info("version %d is applied on top of %s", manifest.version, since)
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

    def _kin(self, lineage: str) -> ModelVersion | None:
        """The newest held version of a lineage: a new base of it repeats most of its rows."""
        kin = [held for held in self.held.values() if held.ref.lineage == lineage]
        return max(kin, key=lambda held: held.ref.version, default=None)


def _loaded(
    manifest: Manifest,
    name: str,
    storage: VersionedTable,
    rows: TableRows,
    below: ModelVersion | None,
    *,
    is_whole: bool,
) -> TableVersion:
    applied = storage.load(
        None if below is None else below.tables[name],
        rows.keys,
        rows.columns,
        rows.gone if not is_whole else np.empty(0, np.int64),
        whole=is_whole,
    )
    refuse_state(manifest, name, applied)
    return applied
