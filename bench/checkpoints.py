"""What a version costs the trainer: bytes, durable writes, standing still, and coming back.

Ours goes to a real S3 server on loopback, whose acknowledged PUT is what makes a version durable;
the peers write to a local file and fsync it.
"""

from __future__ import annotations

import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict_saver import async_save

from bench.measuring import fraction_of, in_turns, seconds
from demo.report import Row
from millstream_core.checkpoint import Folder, live_rows, part_reads, read_ahead, write_table
from millstream_core.store import ModelStore
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from tests.builders.s3_server import s3_server

if TYPE_CHECKING:
    from millstream_api.manifest import Table
    from millstream_core.tables.snapshots import TableSnapshot

DIM: Final = 64
SPECS: Final = {
    "rows": ColumnSpec(dtype="float32", width=DIM, serve="float32", uniform=0.05),
    "accumulator": ColumnSpec(dtype="float32", width=1),
}
DELTAS: Final = 10
LINEAGE: Final = "bench"


def checkpoint_rows(count: int) -> list[Row]:
    """All figures for a table of `count` rows; a delta is one row in a hundred."""
    with (
        tempfile.TemporaryDirectory() as name,
        s3_server(Path(name)) as server,
        ThreadPoolExecutor(8) as pool,
        ThreadPoolExecutor(1) as thread,
    ):
        store = ModelStore(server.objects(), "", "bench")
        return _Bench(count, Path(name), store, pool, thread).rows()


class _Bench:
    def __init__(
        self,
        count: int,
        folder: Path,
        store: ModelStore,
        pool: ThreadPoolExecutor,
        thread: ThreadPoolExecutor,
    ) -> None:
        self._count = count
        self._folder = folder
        self._store = store
        self._pool = pool
        self._thread = thread
        self._number = 0
        self._draw = np.random.default_rng(0)
        self._table = TrainingTable(SPECS, seed=0, max_rows=2 * count)
        self._keys = np.arange(count, dtype=np.int64) * 7919
        for start in range(0, count, 1 << 20):
            self._table.admit(self._keys[start : start + (1 << 20)])

    def rows(self) -> list[Row]:
        base = self._write(self._table.snapshot(whole=True))
        deltas = [self._write(self._touched()) for _ in range(DELTAS)]
        shrinks = _bytes(base) / _bytes(deltas[0])
        of = f"{self._count:.0e} rows".replace("e+0", "e")
        return [
            Row(
                what=f"delta of 1 % of {of}",
                value=_bytes(deltas[0]) / 1e6,
                unit="MB",
                against="the full checkpoint",
                ratio=shrinks,
                bar=f"≤ 1/80 of the full checkpoint (1/{shrinks:.0f} here)",
                holds=shrinks >= 80,
            ),
            self._durable(of),
            self._stall(of),
            *self._restored(of, [base, *deltas]),
        ]

    def _durable(self, of: str) -> Row:
        def ours() -> float:
            snapshot = self._touched()
            return seconds(lambda: self._write(snapshot))

        turns = in_turns(ours, lambda: seconds(lambda: self._save(durably=True)), runs=3)
        bar = 10 if self._count < 5_000_000 else 60
        return fraction_of(f"durable delta of 1 % of {of}", turns, bar, "torch.save + fsync")

    def _stall(self, of: str) -> Row:
        meeting = f"file://{self._folder}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)

        def ours() -> float:
            self._touch()
            began = seconds(self._copy)
            self._table.committed(seal(self._copied))
            return began

        def theirs() -> float:
            self._number += 1
            where = self._folder / f"dcp-{self._number}"
            began = time.perf_counter()
            pending = async_save(self._tensors(), checkpoint_id=where)
            stood = time.perf_counter() - began
            assert isinstance(pending, Future)
            pending.result()
            for file in where.iterdir():
                file.unlink()
            return stood

        try:
            turns = in_turns(ours, theirs, runs=3)
        finally:
            dist.destroy_process_group()
        bar = 5 if self._count < 5_000_000 else 40
        return fraction_of(f"stall for a delta of 1 % of {of}", turns, bar, "DCP async_save")

    def _restored(self, of: str, chain: list[Table]) -> list[Row]:
        """Ours, and beside it what no reader of these bytes from this store can go below."""
        file = self._save(durably=False)
        reads = [
            part.read
            for each in chain
            for part in part_reads(self._store, self._pool, LINEAGE, each)
        ]
        objects = [
            obj
            for table in chain
            for shard in table.shards
            for obj in (shard.keys, *shard.columns.values())
        ]

        def restore() -> None:
            table = TrainingTable(SPECS, seed=0, max_rows=2 * self._count)
            for read in read_ahead(reads, self._thread):
                table.restore(live_rows(table.columns, read))
            assert table.digest == chain[-1].digest_after

        def fetch() -> None:
            for _ in self._pool.map(partial(self._store.get_data, LINEAGE), objects):
                pass

        def load() -> None:
            torch.load(file, weights_only=True)

        turns = in_turns(lambda: seconds(restore), lambda: seconds(load), runs=3)
        floor = in_turns(lambda: seconds(restore), lambda: seconds(fetch), runs=3)
        file.unlink()
        what = f"restore of a base of {of} and {DELTAS} deltas, verified"
        return [
            fraction_of(what, turns, 3, "torch.load of the full table"),
            Row(
                what=f"{what}, against GET and SHA-256 alone",
                value=median(floor.theirs) * 1e3,
                unit="ms",
                against="ours",
                ratio=1 / median(floor.ratios),
                runs=len(floor.theirs),
            ),
        ]

    def _touch(self) -> None:
        keys = self._draw.choice(self._keys, self._count // 100, replace=False)
        slots = self._table.slots(keys)
        self._table.values("rows")[slots] += np.float32(0.01)
        self._table.touch(slots)

    def _touched(self) -> TableSnapshot:
        self._touch()
        self._copy()
        return self._copied

    def _copy(self) -> None:
        self._copied = self._table.snapshot(whole=False)

    def _write(self, snapshot: TableSnapshot) -> Table:
        """Everything from copies to durable objects that the manifest can name."""
        self._number += 1
        sealed = seal(snapshot)
        folder = Folder(self._store, self._pool, LINEAGE, f"data/{self._number}-a")
        table = write_table(folder, "item", sealed)
        self._table.committed(sealed)
        return table

    def _tensors(self) -> dict[str, torch.Tensor]:
        tensors = {
            name: torch.from_numpy(self._table.values(name)[: self._count]) for name in SPECS
        }
        return {**tensors, "keys": torch.from_numpy(self._keys)}

    def _save(self, *, durably: bool) -> Path:
        file = self._folder / "full.pt"
        with file.open("wb") as target:
            torch.save(self._tensors(), target)
            if durably:
                target.flush()
                os.fsync(target.fileno())
        return file


def _bytes(table: Table) -> int:
    return sum(obj.bytes for shard in table.shards for obj in (shard.keys, *shard.columns.values()))
