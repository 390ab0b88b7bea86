"""What a training table and a server's cost beside the bars: look-ups, deltas, copies, sweeps."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median
from typing import Final

import numpy as np

from bench.measuring import RUNS, in_turns, seconds, times_faster
from demo.report import Row, at_most
from millstream_api.manifest import Column
from millstream_api.tables import EvictionSpec, L2Eviction, LfuEviction, TtlEviction
from millstream_core.tables.eviction import condemned
from millstream_core.tables.index import KeyIndex
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.usage import USAGE, USAGE_COLUMN
from millstream_core.tables.versioned import VersionedTable

KEYS: Final = 1_000_000
BATCH: Final = 50_000
DIM: Final = 64
NO_KEYS: Final = np.empty(0, np.int64)


def table_rows() -> list[Row]:
    """All figures of tables of a million rows."""
    return [look_ups(), *deltas(), *snapshot(), *forgetting()]


def look_ups() -> Row:
    """64-bit keys to slots, Zipf batches, against a dict; both from and to numpy."""
    draw = np.random.default_rng(0)
    keys = draw.permutation(np.arange(KEYS, dtype=np.int64) * 7919)
    index, peer = KeyIndex(1 << 21), {int(key): slot for slot, key in enumerate(keys)}
    index.insert(keys)
    batches = [keys[np.minimum(draw.zipf(1.05, BATCH), KEYS) - 1] for _ in range(12)]
    index.lookup(batches[0])
    turns = in_turns(
        lambda: seconds(lambda: [index.lookup(batch) for batch in batches]),
        lambda: seconds(
            lambda: [np.array([peer[key] for key in batch.tolist()]) for batch in batches]
        ),
    )
    speed = len(batches) * BATCH / median(turns.ours) / 1e6
    what = "look-ups of Zipf batches in a server's 1e6 keys"
    return times_faster(what, turns, 10, "Python dict", speed, "million/s")


def deltas() -> list[Row]:
    """10,000 rows onto 600,000 in a server's table, and what three more versions weigh."""
    draw = np.random.default_rng(0)
    table = VersionedTable({"rows": Column(dtype="float32", width=DIM, group="serve")}, 1 << 21)
    keys = np.arange(600_000, dtype=np.int64)
    rows = draw.standard_normal((len(keys), DIM), np.float32)
    versions = [table.load(None, keys, {"rows": rows}, NO_KEYS, whole=True)]
    alone = table.bytes
    spent = []
    for _ in range(RUNS):
        touched = np.sort(draw.choice(keys, 10_000, replace=False))
        changed = rows[touched] + np.float32(1)
        began = time.perf_counter()
        versions.append(table.load(versions[-1], touched, {"rows": changed}, NO_KEYS, whole=False))
        spent.append(time.perf_counter() - began)
        del versions[:-4]  # stable, two before it, a candidate
        table.collect()
    return [
        _timed("a delta of 10,000 rows applied", median(spent) * 1e3, 100),
        at_most("memory of four versions against one", table.bytes / alone, 1.3, "×"),
    ]


def snapshot() -> list[Row]:
    """How long training stands still for a version of 100,000 touched rows of a million."""
    table, draw = training_table(), np.random.default_rng(0)
    keys = draw.permutation(np.arange(KEYS, dtype=np.int64) * 7919)
    table.admit(keys)
    table.committed(seal(table.snapshot(whole=True)))
    copying, settling = [], []
    for _ in range(RUNS):
        table.touch(table.slots(draw.choice(keys, 100_000, replace=False)))
        began = time.perf_counter()
        copied = table.snapshot(whole=False)
        copying.append(time.perf_counter() - began)
        sealed = seal(copied)
        began = time.perf_counter()
        table.committed(sealed)
        settling.append(time.perf_counter() - began)
    return [
        _timed("stall to copy 100,000 rows", median(copying) * 1e3, 50),
        _timed("stall to settle their commit", median(settling) * 1e3, 50),
    ]


def forgetting() -> list[Row]:
    """What it costs to look through a million rows, and to make room among them."""
    table, draw = training_table(), np.random.default_rng(0)
    slots = table.admit(np.arange(KEYS, dtype=np.int64) * 7919)
    table.values(USAGE)[slots] = draw.integers(1, 1 << 20, (KEYS, 3))
    rules = {
        "by age": EvictionSpec(ttl=TtlEviction(seconds=1e9)),
        "by frequency": EvictionSpec(lfu=LfuEviction(capacity=KEYS - KEYS // 64)),
        "by aged frequency": EvictionSpec(
            lfu=LfuEviction(capacity=KEYS - KEYS // 64, half_life_seconds=3600)
        ),
        "by norm": EvictionSpec(l2=L2Eviction(threshold=1e-9)),
    }
    rows = []
    for name, rule in rules.items():
        spent = []
        for _ in range(RUNS):
            began = time.perf_counter()
            condemned(table, rule, float(1 << 20), since_step=0)
            spent.append(time.perf_counter() - began)
        what = f"sweep of 1,000,000 rows {name}"
        rows.append(Row(what=what, value=median(spent) * 1e3, unit="ms", runs=RUNS))
    return rows


def training_table() -> TrainingTable:
    """The columns of a table that is trained."""
    specs = {
        "rows": ColumnSpec(dtype="float32", width=DIM, serve="float32", uniform=0.05),
        "accumulator": ColumnSpec(dtype="float32", width=1),
        USAGE: USAGE_COLUMN,
    }
    return TrainingTable(specs, seed=0, max_rows=1 << 21)


def _timed(what: str, milliseconds: float, bar: float) -> Row:
    return replace(at_most(what, milliseconds, bar, "ms"), runs=RUNS)
