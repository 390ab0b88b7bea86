"""What storage of rows promises, wherever they are: another tier has to pass this too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millstream_core.tables.overflow import LEAST_ROWS, Overflow
from millstream_core.tables.storage import Storage

COLUMNS = {
    "rows": (np.dtype(np.float32), 8),
    "items": (np.dtype(np.int64), 3),
    "usage": (np.dtype(np.uint32), 3),
}
MAX_ROWS = 8 * LEAST_ROWS
ROW_BYTES = 8 * 4 + 3 * 8
STAYING = 3 * 4  # bytes of a row that are always in memory
SLOTS = np.random.default_rng(3).permutation(MAX_ROWS).astype(np.int32)


@pytest.fixture(params=["in memory", "partly on disk"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    overflow = Overflow(tmp_path, budget=2 * LEAST_ROWS * ROW_BYTES, limit=1 << 30)
    is_tiered = request.param == "partly on disk"
    return Storage(COLUMNS, MAX_ROWS, overflow if is_tiered else None, in_memory=("usage",))


def numbered(storage: Storage) -> None:
    """Each row holds its slot."""
    storage.reserve(MAX_ROWS)
    for name in COLUMNS:
        storage.values(name)[SLOTS] = SLOTS[:, None]


def holds(storage: Storage, slots: np.ndarray, numbers: np.ndarray) -> None:
    rows = storage.take(slots)
    assert rows.keys() == COLUMNS.keys()
    for name, (dtype, width) in COLUMNS.items():
        assert rows[name].dtype == dtype
        assert np.array_equal(rows[name], np.repeat(numbers[:, None], width, axis=1)), name
        assert np.array_equal(storage.values(name)[slots], rows[name])


def test_rows_begin_as_zeros(storage: Storage) -> None:
    storage.reserve(MAX_ROWS)
    holds(storage, SLOTS, np.zeros(MAX_ROWS))


def test_what_was_written_is_read(storage: Storage) -> None:
    numbered(storage)
    holds(storage, SLOTS, SLOTS)


def test_rows_stay_where_they_are_while_there_come_more(storage: Storage) -> None:
    """Growing moves nothing: who holds `values` reads on."""
    values = storage.values("rows")
    for end in range(LEAST_ROWS, MAX_ROWS + 1, LEAST_ROWS):
        storage.reserve(end)
        values[end - LEAST_ROWS : end] = end
    assert np.array_equal(values, storage.values("rows"))
    assert values[::LEAST_ROWS, 0].tolist() == [*range(LEAST_ROWS, MAX_ROWS + 1, LEAST_ROWS)]


def test_rows_change_places_whole(storage: Storage) -> None:
    """All columns, every pair, and no row besides."""
    numbered(storage)
    left, right, others = SLOTS[:900], SLOTS[900:1800], SLOTS[1800:]
    storage.exchange(left, right)
    holds(storage, left, right)
    holds(storage, right, left)
    holds(storage, others, others)


def test_copies_stay_as_they_were(storage: Storage) -> None:
    numbered(storage)
    before = storage.take(SLOTS[:5])
    storage.values("rows")[SLOTS[:5]] = -1
    assert before["rows"][:, 0].tolist() == SLOTS[:5].tolist()


def test_bytes_are_those_of_rows_by_tier(storage: Storage) -> None:
    in_memory = min(MAX_ROWS, storage.memory_rows)
    assert storage.memory_bytes(MAX_ROWS) == in_memory * ROW_BYTES + MAX_ROWS * STAYING
    assert storage.disk_bytes(MAX_ROWS) == (MAX_ROWS - in_memory) * ROW_BYTES
    assert storage.disk_bytes(in_memory) == 0
