"""R4: a table beyond its memory budget is written whole and read back without being in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders.processes import run_script

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

THERE_AND_BACK = """
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from millstream_core.checkpoint import Folder, live_rows, part_reads, shards, write_table
from millstream_core.store import ModelStore
from millstream_core.tables.overflow import Overflow
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from tests.builders.processes import anonymous_memory
from tests.builders.s3_server import s3_server

shards.SHARD_BYTES = 1 << 20
SERVE = sys.argv[2]
SPECS = {"rows": ColumnSpec(dtype="float32", width=256, serve=SERVE, uniform=0.1)}
ROW, BUDGET_ROWS, ROWS = 1024 + 16, 4096, 120_000
folder = Path(sys.argv[1])

@contextmanager
def peak_printed():
    before, peak, is_over = anonymous_memory(), 0, threading.Event()
    def watch():
        nonlocal peak
        while not is_over.wait(0.02):
            peak = max(peak, anonymous_memory())
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    print(peak - before)

def fresh():
    overflow = Overflow(folder, budget=BUDGET_ROWS * ROW, limit=1 << 30)
    return TrainingTable(SPECS, seed=3, max_rows=1 << 17, overflow=overflow)

def there_and_back(rows, name):
    table, back = fresh(), fresh()
    for start in range(0, rows, 1000):
        table.admit(np.arange(start, start + 1000))
    with peak_printed():
        sealed = seal(table.snapshot(whole=True))
        written = write_table(Folder(store, pool, "l", f"data/{name}-a"), "item", sealed)
    with peak_printed():
        for part in part_reads(store, pool, "l", written):
            back.restore(live_rows(SPECS, part.read()))
    assert len(back) == rows and back.digest == sealed.digest_after
    slots = back.slots(np.arange(rows))
    assert (back.values("rows")[slots] == table.values("rows")[table.slots(np.arange(rows))]).all()

with s3_server(folder) as server, ThreadPoolExecutor(2) as pool:
    store = ModelStore(server.objects(), "", "shop")
    there_and_back(6000, 0)  # compiles, and opens connections
    there_and_back(ROWS, 1)
print(ROWS * ROW)
"""


@pytest.mark.parametrize("served_as", ["float32", "int8rows"])
def test_a_base_passes_by_in_parts(tmp_path: Path, served_as: str) -> None:
    """What is nobody else's memory grows by a few parts, the index and the budget."""
    printed = run_script(THERE_AND_BACK, str(tmp_path), served_as)
    *_, written, read, size = map(int, printed.split())
    assert written < size / 4
    assert read < size / 4
