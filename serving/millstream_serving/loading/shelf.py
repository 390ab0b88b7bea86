"""Versions by their references: finding the way from what is held, fetching it and applying it.

    wanted ──parents──► a held version, or the base ──► apply each step, oldest first
                                                         └── the next ones are fetched meanwhile

Versions are applied on the one loading thread; requests meet only finished ones.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.checkpoint import read_ahead, read_dense, read_table
from millstream_core.store import IntegrityError, ObjectMissing
from millstream_core.tables.versioned import TableVersion, VersionedTable
from millstream_serving.engine.networks import MisshapenWeights, prepare
from millstream_serving.engine.rows import rows_of
from millstream_serving.engine.versions import ModelVersion
from millstream_serving.loading.checks import (
    EMBEDDINGS,
    Refused,
    Step,
    refuse_dense,
    refuse_misfit,
    refuse_rows,
    refuse_state,
    serve_columns,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_core.checkpoint import TableRows
    from millstream_core.store import ModelStore

log = logging.getLogger(__name__)

LONGEST_CHAIN: Final = 512


@dataclass(frozen=True)
class _Files:
    """What a version brings, verified and checked."""

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
    ) -> None:
        """Make a version available, and with it the wanted ones on the way.

        Args:
            ref: the version.
            is_wanted: whether the version of this digest is to be held; asked at every step.
            loaded: told of each version that is held now.

        Raises:
            Refused: it, or a version below it, must not serve.
            StoreUnavailable, AccessDenied: the store did not do its part.
        """
        try:
            below, steps = self._way_to(ref)
            with closing(self._fetched_in_order(below, steps)) as fetched:
                for (step, manifest), files in zip(reversed(steps), fetched, strict=True):
                    self._collect()
                    below = self._applied(step, manifest, files, below)
                    if is_wanted(below.ref.digest):
                        self.held[below.ref.digest] = below
                        loaded(below)
                    if not is_wanted(ref.digest):
                        return
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
        self, ref: VersionRef
    ) -> tuple[ModelVersion | None, list[tuple[VersionRef, Manifest]]]:
        """The held version to start from, if any, and the steps from there, newest first."""
        steps: list[tuple[VersionRef, Manifest]] = []
        for current, manifest in self._store.ancestry(ref, LONGEST_CHAIN):
            if current.digest in self.held:
                return self.held[current.digest], steps
            steps.append((current, manifest))
            if manifest.kind == "base":
                return None, steps
        raise Refused(
            "LineageBroken",
            f"version {ref.version} does not lead back to a base: {len(steps)} deltas",
        )

    def _fetched_in_order(
        self, below: ModelVersion | None, steps: list[tuple[VersionRef, Manifest]]
    ) -> Generator[_Files]:
        """The files of each step, oldest first, fetched while those before are applied."""
        start = None if below is None else below.manifest
        parents = [*(manifest for _, manifest in steps[1:]), start]
        reads = [
            partial(self._fetch, *step, parent) for step, parent in zip(steps, parents, strict=True)
        ]
        return read_ahead(reversed(reads), self._thread)

    def _fetch(self, ref: VersionRef, manifest: Manifest, parent: Manifest | None) -> _Files:
        """Fetch and check one version; none of it is applied."""
        is_known = parent is not None and parent.transform == manifest.transform
        refuse_misfit(
            Step(
                ref=ref,
                manifest=manifest,
                parent=parent,
                transform=None if is_known else self._store.transform(manifest.transform),
            )
        )
        dense = read_dense(self._store, manifest, "serve")
        refuse_dense(manifest.version, dense)
        tables = {
            name: read_table(self._store, self._pool, manifest.lineage, table, groups=("serve",))
            for name, table in manifest.tables.items()
        }
        for name, rows in tables.items():
            refuse_rows(manifest, name, rows)
        return _Files(dense, tables)

    def _applied(
        self, ref: VersionRef, manifest: Manifest, files: _Files, below: ModelVersion | None
    ) -> ModelVersion:
        try:
            weights = prepare(manifest.architecture, files.dense)
        except MisshapenWeights as error:
            raise Refused("Malformed", f"version {manifest.version}: {error}") from error
        storage = self._storage(manifest)
        sharing = self._kin(ref.lineage) if manifest.kind == "base" else below
        tables = {
            name: _loaded(manifest, name, storage[name], rows, sharing)
            for name, rows in files.tables.items()
        }
        version = ModelVersion(
            ref=ref,
            manifest=manifest,
            weights=weights,
            tables=tables,
            rows={
                name: rows_of(tables[name], manifest.tables[name].default) for name in EMBEDDINGS
            },
            popular=files.dense["candidates.popular"],
            newest=files.dense["candidates.new"],
        )
        log.info("version %d (%s) is applied", manifest.version, manifest.kind)
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
) -> TableVersion:
    is_base = manifest.kind == "base"
    applied = storage.load(
        None if below is None else below.tables[name],
        rows.keys,
        rows.columns,
        rows.gone if not is_base else np.empty(0, np.int64),
        whole=is_base,
    )
    refuse_state(manifest, name, applied)
    return applied
