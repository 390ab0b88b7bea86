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
from millstream_core.tables.index import KeyIndex
from millstream_core.tables.training import ColumnSpec, TrainingTable, seal
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
    rows = [look_ups(), *deltas(), snapshot(), *served_forms()]
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


def snapshot() -> Row:
    """How long training stands still for a snapshot of 100,000 touched rows."""
    specs = {
        "rows": ColumnSpec(dtype="float32", width=DIM, serve="float32", uniform=0.05),
        "accumulator": ColumnSpec(dtype="float32", width=1),
    }
    table = TrainingTable(specs, seed=0, max_rows=1 << 20)
    slots = table.admit(np.arange(100_000, dtype=np.int64))
    spent = []
    for _ in range(RUNS):
        table.touch(slots)
        began = time.perf_counter()
        copied = table.snapshot(whole=False)
        spent.append(time.perf_counter() - began)
        table.committed(seal(copied))
    return Row(
        what="stall for a snapshot of 100,000 rows", value=median(spent) * 1e3, unit="ms", runs=RUNS
    )


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
