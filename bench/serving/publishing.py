"""The workload's model as a version in a store, as a trainer would publish it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.serving.workload import ATTENTION, HEAD, dense_weights, table_rows
from millstream_api.manifest import Architecture, Chain, Manifest, Validation
from millstream_core.checkpoint import Folder, write_dense, write_table
from millstream_core.features import PAD, Transform
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.serving.workload import Sizes
    from millstream_api.manifest import Table, VersionRef
    from millstream_core.store import ModelStore

LINEAGE: Final = "be7c4" + "0" * 7
UPLOADS: Final = 8


def publish(store: ModelStore, sizes: Sizes) -> VersionRef:
    """A base version of all rows."""
    rows = ColumnSpec(dtype="float32", width=sizes.width, serve="float32")
    history = ColumnSpec(dtype="int64", width=sizes.history, serve="int64", fill=PAD)
    nobody = np.empty((0, sizes.history), np.int64)
    with ThreadPoolExecutor(UPLOADS) as pool:
        folder = Folder(store, pool, LINEAGE, "data/1-bench")
        tables = {
            "user": _written(folder, "user", rows, table_rows(sizes.users, sizes.width, 2)),
            "item": _written(folder, "item", rows, table_rows(sizes.items, sizes.width, 3)),
            "history": _written(folder, "history", history, nobody),
        }
        lists = dict.fromkeys(("candidates.popular", "candidates.new"), np.empty(0, np.int64))
        dense = {"serve": write_dense(folder, "serve", dense_weights(sizes) | lists)}
    transform = Transform(history_length=sizes.history)
    return store.commit(
        Manifest(
            model="bench",
            lineage=LINEAGE,
            version=1,
            kind="base",
            parent=None,
            chain=Chain(base_version=1, length=0, bytes=0),
            writer="bench",
            writer_epoch=1,
            step=1,
            created_at=0.0,
            watermark=None,
            positions={},
            architecture=Architecture(
                name="DIN",
                embedding_dim=sizes.width,
                attention=ATTENTION,
                head=HEAD,
                history_length=sizes.history,
            ),
            transform=store.put_transform(transform.canonical()),
            dense=dense,
            tables=tables,
            validation=Validation(events=0),
            producer="bench",
        )
    )


def _written(folder: Folder, name: str, column: ColumnSpec, values: NDArray[np.generic]) -> Table:
    what = "items" if name == "history" else "rows"
    table = TrainingTable({what: column}, seed=0, max_rows=max(1, len(values)))
    slots = table.admit(np.arange(len(values), dtype=np.int64))
    table.values(what)[slots] = values
    return write_table(folder, name, seal(table.snapshot(whole=True)))
