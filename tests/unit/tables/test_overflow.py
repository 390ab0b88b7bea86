"""Rows on disk: as good as those in memory, within the budget, and errors that say what to do."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from millstream_core.tables.overflow import LEAST_ROWS, Overflow, OverflowFull
from tests.builders.processes import run_script
from tests.builders.tables import ROW_BYTES, by_key, make_life, make_overflow, sweep, train


def test_rows_beyond_the_budget_are_read_and_written_like_others(tmp_path: Path) -> None:
    plain, tiered = make_life(), make_life(overflow=make_overflow(tmp_path, LEAST_ROWS))
    for life in (plain, tiered):
        for step in range(20):
            train(life, range(step * 500, step * 500 + 1000), step)
            sweep(life, step)
    ours, theirs = (by_key(life.table.snapshot(whole=True).rows) for life in (tiered, plain))
    assert len(ours.keys) == 10_500
    assert np.array_equal(ours.keys, theirs.keys)
    assert all(np.array_equal(ours.columns[name], theirs.columns[name]) for name in theirs.columns)
    beyond = 10_500 - LEAST_ROWS
    assert tiered.table.disk_bytes == beyond * ROW_BYTES
    assert plain.table.disk_bytes == 0
    assert tiered.table.bytes == plain.table.bytes - beyond * ROW_BYTES


def test_the_file_is_never_seen(tmp_path: Path) -> None:
    """A process that is killed leaves nothing behind."""
    life = make_life(overflow=make_overflow(tmp_path, LEAST_ROWS))
    train(life, range(5000), 1)
    assert life.table.disk_bytes > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be kept in .*none \(No such file or directory\)"):
        make_life(overflow=make_overflow(tmp_path / "none", LEAST_ROWS))


def test_a_budget_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds 1023 rows of 36 bytes.* to 36864 bytes or more"):
        make_life(overflow=Overflow(tmp_path, budget=LEAST_ROWS * ROW_BYTES - 1, limit=1 << 30))


def test_more_rows_than_the_overflow_may_hold(tmp_path: Path) -> None:
    """Nothing is lost: all rows are as they were."""
    life = make_life(overflow=make_overflow(tmp_path, LEAST_ROWS, limit=1000 * ROW_BYTES))
    train(life, range(2024), 1)
    before = life.table.snapshot(whole=True).rows
    with pytest.raises(OverflowFull, match=r"need 36036 bytes of disk .* ends at 36000: raise it"):
        train(life, [5000], 2)
    with pytest.raises(OverflowFull):
        life.table.restore(replace(before, keys=before.keys[-1:] + 1))
    after = life.table.snapshot(whole=True).rows
    assert after.keys.tolist() == before.keys.tolist()
    assert len(life.table) == 2024


FULL = """
import sys
from pathlib import Path

import numpy as np

from tests.builders.tables import make_life, make_overflow, train

life = make_life(overflow=make_overflow(Path(sys.argv[1]), 1024), max_rows=1 << 22)
try:
    for step in range(1000):
        train(life, range(step * 10_000, step * 10_000 + 10_000), step)
except MemoryError as error:
    print(error)
slots = life.table.all_slots()
assert len(slots) > 10_000
assert (life.table.values("accumulator")[slots] == 1).all()
print("all rows are there")
"""


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """An error that can be read, not SIGBUS at a store; and what there was can still be read."""
    small = f'mount -t tmpfs -o size=16m none {tmp_path} && exec "$@"'
    own = ("unshare", "--mount", "--map-root-user")
    if subprocess.run([*own, "sh", "-c", small, "-", "true"], check=False).returncode:  # noqa: S603
        pytest.skip("this machine lets nobody mount a small disk")
    printed = run_script(FULL, str(tmp_path), through=(*own, "sh", "-c", small, "-"))
    assert "no room on disk for" in printed
    assert "No space left on device" in printed
    assert "all rows are there" in printed


RESIDENT = """
import sys
from pathlib import Path

import numpy as np

from tests.builders.processes import anonymous_memory
from tests.builders.tables import ROW_BYTES, make_life, make_overflow, sweep, train

BUDGET_ROWS = 30_000

def fill(life, rows):
    draw = np.random.default_rng(0)
    for step in range(rows // 500):
        keys = np.arange(step * 500, step * 500 + 500)
        often = draw.integers(0, step * 500 + 1, 500)
        train(life, [*keys.tolist(), *often.tolist(), *often.tolist()], step)
        sweep(life, step)

folder = Path(sys.argv[1])
fill(make_life(overflow=make_overflow(folder, 2000)), 40_000)  # compile, warm up
life = make_life(overflow=make_overflow(folder, BUDGET_ROWS), max_rows=1 << 20)
before = anonymous_memory()
fill(life, 10 * BUDGET_ROWS)
grown = anonymous_memory() - before
print(grown, life.table.bytes, life.table.disk_bytes, life.take_changes().moved)
"""


def test_ten_times_as_many_rows_as_the_budget_holds(tmp_path: Path) -> None:
    """R4: memory that is nobody else's stays within a tenth of what the table declares.

    Rows beyond the budget take none of it, though they come and go.
    """
    printed = run_script(RESIDENT, str(tmp_path))
    resident, declared, on_disk, moved = map(int, printed.split())
    assert on_disk == 9 * 30_000 * ROW_BYTES
    assert resident == pytest.approx(declared, rel=0.1)
    assert moved > 1000
