"""The workload's model as a version in a store, as a trainer would publish it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.serving.workload import dense_weights, table_rows
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


class Publisher:
    """Publishes the model, then deltas of its items, as a trainer does."""

    def __init__(self, store: ModelStore, sizes: Sizes) -> None:
        """Nothing is written yet."""
        self.store = store
        self._sizes = sizes
        rows = ColumnSpec(dtype="float32", width=sizes.width, serve="float32")
        history = ColumnSpec(dtype="int64", width=sizes.history, serve="int64", fill=PAD)
        clicks = np.random.default_rng(5).integers(
            sizes.candidates, sizes.items, (sizes.visitors, sizes.history)
        )
        self._tables = {
            "user": _table("rows", rows, table_rows(sizes.users, sizes.width, 2)),
            "item": _table("rows", rows, table_rows(sizes.items, sizes.width, 3)),
            "history": _table("items", history, clicks),
        }
        self._draw = np.random.default_rng(6)
        self._latest: VersionRef | None = None

    def base(self) -> VersionRef:
        """A version of all rows."""
        return self.commit(self._written(whole=True))

    def delta(self, items: int) -> Manifest:
        """A version in which so many items have changed a little: all but its commit."""
        table = self._tables["item"]
        slots = self._draw.choice(self._sizes.items, items, replace=False).astype(np.int32)
        table.values("rows")[slots] += np.float32(1e-3)
        table.touch(slots)
        return self._written(whole=False)

    def commit(self, manifest: Manifest) -> VersionRef:
        """Make it a version; deltas are written and committed in turn."""
        self._latest = self.store.commit(manifest)
        return self._latest

    def _written(self, *, whole: bool) -> Manifest:
        number = 1 if self._latest is None else self._latest.version + 1
        with ThreadPoolExecutor(UPLOADS) as pool:
            folder = Folder(self.store, pool, LINEAGE, f"data/{number}-bench")
            tables = {
                name: _written(folder, name, table, whole=whole)
                for name, table in self._tables.items()
            }
            lists = {
                # Nobody of the visitors has clicked one of these: all are ranked for everybody.
                "candidates.popular": np.arange(
                    self._sizes.candidates * bool(self._sizes.visitors)
                ),
                "candidates.new": np.empty(0, np.int64),
            }
            dense = {"serve": write_dense(folder, "serve", dense_weights(self._sizes) | lists)}
        transform = Transform(history_length=self._sizes.history)
        return Manifest(
            model="bench",
            lineage=LINEAGE,
            version=number,
            kind="base" if whole else "delta",
            parent=self._latest,
            chain=Chain(base_version=1, length=number - 1, bytes=0),
            writer="bench",
            writer_epoch=1,
            step=number,
            created_at=0.0,
            watermark=None,
            positions={},
            architecture=Architecture(
                name="DIN",
                embedding_dim=self._sizes.width,
                attention=self._sizes.attention,
                head=self._sizes.head,
                history_length=self._sizes.history,
            ),
            transform=self.store.put_transform(transform.canonical()),
            dense=dense,
            tables=tables,
            validation=Validation(events=0),
            producer="bench",
        )


def _table(column: str, spec: ColumnSpec, values: NDArray[np.generic]) -> TrainingTable:
    table = TrainingTable({column: spec}, seed=0, max_rows=max(1, len(values)))
    slots = table.admit(np.arange(len(values), dtype=np.int64))
    table.values(column)[slots] = values
    return table


def _written(folder: Folder, name: str, table: TrainingTable, *, whole: bool) -> Table:
    sealed = seal(table.snapshot(whole=whole))
    written = write_table(folder, name, sealed)
    table.committed(sealed)
    return written
