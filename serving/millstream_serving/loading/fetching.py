"""Fetching what a leg of the way to a version brings, checked but not applied.

This runs ahead of the loading thread: the files of the next leg come while one is applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream_core.checkpoint import leg_tables, read_dense, read_table
from millstream_core.features import ContextFeatures, Transform
from millstream_serving.loading.checks import Step, refuse_dense, refuse_misfit, refuse_rows

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_api.manifest import Manifest
    from millstream_core.checkpoint import Leg, TableRows
    from millstream_core.store import ModelStore


@dataclass(frozen=True)
class Files:
    """What a version brings, verified and checked."""

    features: ContextFeatures | None  # None: those of the version below
    graph: bytes | None  # None: that of the version below, if it has one
    dense: dict[str, NDArray[Any]]
    tables: dict[str, TableRows]


def fetch(store: ModelStore, pool: Executor, leg: Leg, parent: Manifest | None) -> Files:
    """Fetch and check what a leg brings; none of it is applied."""
    manifest, wanted = leg.manifest, leg_tables(store, leg)
    is_known = parent is not None and parent.transform == manifest.transform
    transform = None if is_known else store.transform(manifest.transform)
    refuse_misfit(
        Step(
            ref=leg.target,
            manifest=manifest,
            parent=parent,
            transform=transform,
            tables=wanted,
        )
    )
    dense = read_dense(store, manifest, "serve")
    is_same = parent is not None and parent.architecture == manifest.architecture
    graph = None
    if manifest.graph is not None and not is_same:
        graph = store.get_data(manifest.lineage, manifest.graph)
    refuse_dense(manifest.version, dense)
    tables = {
        name: read_table(store, pool, manifest.lineage, table, groups=("serve",))
        for name, table in wanted.items()
    }
    for name, rows in tables.items():
        refuse_rows(manifest, name, rows)
    features = None
    if transform is not None:
        features = ContextFeatures(Transform.parse(transform).features)
    return Files(features, graph, dense, tables)
