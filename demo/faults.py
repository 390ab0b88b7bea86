"""Versions that must never win: what a broken job would publish, published on purpose.

Both go through the same store API as a trainer's, with right digests and a right parent; only
their content is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from millstream_api.manifest import Channel, Manifest, Table, VersionRef
from millstream_api.names import CHANNEL_LATEST
from millstream_core.checkpoint import Folder, live_rows, read_table, specs_of, write_table
from millstream_core.tables.snapshots import seal
from millstream_core.tables.training import TrainingTable

if TYPE_CHECKING:
    from millstream_core.store import ModelStore

Damage = Callable[[NDArray[np.float32]], None]


def with_nan_rows(rows: NDArray[np.float32]) -> None:
    """One item row in fifty is not a number any more."""
    rows[::50] = np.nan


def with_flipped_signs(rows: NDArray[np.float32]) -> None:
    """Every item is the opposite of what it was: all finite, all wrong."""
    rows *= -1


def publish_damaged(store: ModelStore, parent_ref: VersionRef, damage: Damage) -> VersionRef:
    """Publish a delta on this version whose item rows are damaged.

    Args:
        store: of the model.
        parent_ref: a good version.
        damage: changes float32[n, dim] in place.
    """
    found = store.channel(CHANNEL_LATEST)
    assert found is not None, "nothing was ever published"
    channel, etag = found
    parent = store.manifest(parent_ref)
    version = store.commits(parent.lineage)[-1] + 1
    with ThreadPoolExecutor(8) as pool:
        folder = Folder(store, pool, parent.lineage, f"data/{version}-damaged")
        tables: dict[str, Table] = {}
        for name, before in parent.tables.items():
            table = _restored(store, pool, parent_ref, name)
            if name == "item":
                _damage_rows(table, damage)
            sealed = seal(table.snapshot(whole=False))
            tables[name] = write_table(folder, name, sealed, before.default)
    damaged = parent.changed(
        version=version,
        kind="delta",
        parent=parent_ref,
        chain=parent.chain.changed(length=parent.chain.length + 1),
        writer="demo",
        created_at=time.time(),
        tables=tables,
    )
    ref = store.commit(damaged)
    moved = Channel(
        target=ref,
        previous=channel.target,
        reason="Published",
        actor="demo",
        moved_at=time.time(),
        quarantined=channel.quarantined,
    )
    store.move_channel(CHANNEL_LATEST, moved, etag=etag)
    return ref


def _damage_rows(table: TrainingTable, damage: Damage) -> None:
    slots = table.slots(table.snapshot(whole=True).rows.keys)
    rows = table.values("rows")[slots]
    damage(rows)
    table.values("rows")[slots] = rows
    table.touch(slots)


def _restored(
    store: ModelStore, pool: ThreadPoolExecutor, ref: VersionRef, name: str
) -> TrainingTable:
    """The table as of this version, from its base through its deltas."""
    chain: list[Manifest] = []
    for _, manifest in store.ancestry(ref):
        chain.append(manifest)
        if manifest.kind == "base":
            break
    newest = chain[0].tables[name]
    table = TrainingTable(specs_of(newest.columns), seed=newest.seed, max_rows=1 << 22)
    for manifest in reversed(chain):
        rows = read_table(store, pool, manifest.lineage, manifest.tables[name])
        table.restore(live_rows(table.columns, rows))
    return table
