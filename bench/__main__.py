"""`python -m bench`: what the tables cost, against a Python dict and against the bars.

Writes `build/reports/bench.json`. Absolute times are those of a machine that may be busy; ratios
are of two sides measured in turns.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console

from bench.served import served_forms
from demo.report import Row, as_table, at_most, write_report
from millstream_api.manifest import Column
from millstream_api.tables import EvictionSpec, L2Eviction, LfuEviction, TtlEviction
from millstream_core.tables.eviction import condemned
from millstream_core.tables.index import KeyIndex
from millstream_core.tables.training import ColumnSpec, TrainingTable, seal
from millstream_core.tables.usage import USAGE, USAGE_COLUMN
from millstream_core.tables.versioned import VersionedTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROOT: Final = Path(__file__).resolve().parents[1]
RUNS: Final = 5
KEYS: Final = 1_000_000
BATCH: Final = 50_000
DIM: Final = 64
NO_KEYS: Final = np.empty(0, np.int64)


def main() -> int:
    """Run everything; exit code 0 only if every bar is met."""
    rows = [look_ups(), *deltas(), *snapshot(), *forgetting(), *served_forms()]
    write_report(ROOT / "build" / "reports" / "bench.json", "bench", rows)
    Console(width=None if sys.stdout.isatty() else 160).print(as_table(rows))
    return 0 if all(row.holds is not False for row in rows) else 1


def look_ups() -> Row:
    """64-bit keys to slots, Zipf batches, against a dict; both from and to numpy."""
    draw = np.random.default_rng(0)
    keys = draw.permutation(np.arange(KEYS, dtype=np.int64) * 7919)
    index, peer = KeyIndex(1 << 21), {int(key): slot for slot, key in enumerate(keys)}
    index.insert(keys)
    batches = [keys[np.minimum(draw.zipf(1.05, BATCH), KEYS) - 1] for _ in range(12)]
    index.lookup(batches[0])
    ours, theirs = in_turns(
        lambda: [index.lookup(batch) for batch in batches],
        lambda: [np.array([peer[key] for key in batch.tolist()]) for batch in batches],
    )
    ratio = theirs / ours
    return Row(
        what="look-ups of Zipf batches in 1,000,000 keys",
        value=len(batches) * BATCH / ours / 1e6,
        unit="million/s",
        against="Python dict",
        ratio=ratio,
        bar=f"≥ 10 × ({ratio:.1f} × here)",
        holds=ratio >= 10,
        runs=RUNS,
    )


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
        _with_runs(at_most("a delta of 10,000 rows applied", median(spent) * 1e3, 100, "ms")),
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
        _with_runs(at_most("stall to copy 100,000 rows", median(copying) * 1e3, 50, "ms")),
        _with_runs(at_most("stall to settle their commit", median(settling) * 1e3, 50, "ms")),
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


def in_turns(
    ours: Callable[[], list[NDArray[np.int32]]], theirs: Callable[[], list[NDArray[np.int64]]]
) -> tuple[float, float]:
    """Median seconds of each, run alternately."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(RUNS):
        for side, work in zip(spent, (ours, theirs), strict=True):
            began = time.perf_counter()
            work()
            side.append(time.perf_counter() - began)
    return median(spent[0]), median(spent[1])


def _with_runs(row: Row) -> Row:
    return Row(**{**vars(row), "runs": RUNS})


if __name__ == "__main__":
    sys.exit(main())
