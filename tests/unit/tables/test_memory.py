"""Tables stay within the memory that they declare, each in a process of its own."""

from __future__ import annotations

import pytest

from tests.builders.processes import run_script

FORGETTING = """
import numpy as np

from millstream_core.tables.snapshots import seal
from tests.builders.processes import anonymous_memory
from tests.builders.tables import make_life, sweep, train

def fill(life, capacity, commits):
    draw = np.random.default_rng(0)
    for step in range(10 * capacity // 500):
        train(life, draw.integers(-2**62, 2**62, 500).tolist(), step)
        sweep(life, step)
        assert len(life.table) <= capacity
        if commits and step % 20 == 0:
            life.table.committed(seal(life.table.snapshot(whole=False)))

COMMITS = {commits}
fill(make_life(eviction={{"lfu": {{"capacity": 1000}}}}), 1000, COMMITS)  # compile, warm up
life = make_life(eviction={{"lfu": {{"capacity": 60_000}}}}, max_rows=1 << 20, width=128)
before = anonymous_memory()
fill(life, 60_000, COMMITS)
print(anonymous_memory() - before, life.table.bytes)
"""
HOLDING = """
import numpy as np

from millstream_api.manifest import Column
from millstream_core.tables.versioned import VersionedTable
from tests.builders.processes import anonymous_memory

WIDTH, RETAINED, NO_KEYS = 64, 5, np.empty(0, np.int64)

def deltas(rows):
    column = Column(dtype="float32", width=WIDTH, group="serve")
    table, draw = VersionedTable({"rows": column}, 1 << 20), np.random.default_rng(0)
    version, keys = None, np.arange(rows)
    for part in np.array_split(keys, 50):  # so that no copy of the whole is left behind
        values = np.ones((len(part), WIDTH), np.float32)
        version = table.load(version, part, {"rows": values}, NO_KEYS, whole=False)
        table.collect()
    held = [version]
    for _ in range(50):
        touched = np.sort(draw.choice(keys, rows // 100, replace=False))
        values = draw.standard_normal((len(touched), WIDTH), np.float32)
        version = table.load(held[-1], touched, {"rows": values}, NO_KEYS, whole=False)
        held = [*held[1 - RETAINED:], version]
        del version
        table.collect()
    return table, held

deltas(2000)  # compile, warm up
before, rows = anonymous_memory(), 200_000
table, held = deltas(rows)
cells, slots = 1 << 19, rows + RETAINED * rows // 100
declared = slots * WIDTH * 4 + 4 * rows * (RETAINED + 1) + 16 * cells + 8 * rows
print(anonymous_memory() - before, declared)
"""


def measured(script: str) -> tuple[int, int]:
    """Bytes that are in memory, and bytes that are declared."""
    resident, declared = map(int, run_script(script).split())
    return resident, declared


@pytest.mark.parametrize("commits", [False, True], ids=["never published", "publishing"])
def test_ten_times_as_many_keys_as_fit(*, commits: bool) -> None:
    """R4: rows stay below the capacity, and real memory within a tenth of the declared bytes."""
    resident, declared = measured(FORGETTING.format(commits=commits))
    assert resident == pytest.approx(declared, rel=0.1)


def test_fifty_deltas_of_which_five_are_retained() -> None:
    """R21: base + retained delta rows + 4 B a row and version + the index, within a twentieth."""
    resident, declared = measured(HOLDING)
    assert resident == pytest.approx(declared, rel=0.05)
