"""A table that forgets stays within the memory that it declares, in a process of its own."""

from __future__ import annotations

import pytest

from tests.builders.processes import run_script

SCRIPT = """
from pathlib import Path

import numpy as np

from millstream_core.tables.snapshots import seal
from tests.builders.tables import make_life, sweep, train

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

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
life = make_life(eviction={{"lfu": {{"capacity": 60_000}}}}, max_rows=1 << 20)
before = resident()
fill(life, 60_000, COMMITS)
print(resident() - before, life.table.bytes)
"""


@pytest.mark.parametrize("commits", [False, True], ids=["never published", "publishing"])
def test_ten_times_as_many_keys_as_fit(*, commits: bool) -> None:
    """R4: rows stay below the capacity, and real memory within a tenth of the declared bytes."""
    resident, declared = map(int, run_script(SCRIPT.format(commits=commits)).split())
    assert resident == pytest.approx(declared, rel=0.1)
