"""What the versions of a served table cost to hold, however many pass through."""

from __future__ import annotations

import weakref

import numpy as np

from millstream_api.manifest import Column
from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined, row_hashes
from millstream_core.tables.maps import CHUNK
from millstream_core.tables.versioned import PIECE, VersionedTable

WIDTH = 4
HELD = 4  # stable, two before it, and a candidate
NO_KEYS = np.empty(0, np.int64)
CELL_BYTES, KEY_BYTES = 16, 8


def values(keys):
    """Rows that tell their keys, [n, WIDTH]."""
    return np.repeat(keys[:, None], WIDTH, axis=1).astype(np.float32)


class Churn:
    """A table whose oldest keys go while new ones come."""

    def __init__(self, rows):
        column = Column(dtype="float32", width=WIDTH, group="serve")
        self.table = VersionedTable({"rows": column}, 1 << 17)
        self.oldest, self.newest = 0, rows
        keys = np.arange(rows)
        self.version = self.table.load(None, keys, {"rows": values(keys)}, NO_KEYS, whole=True)
        self.draw = np.random.default_rng(0)

    def delta(self):
        """100 rows, 30 of them new, and as many tombstones; returns the version."""
        gone = np.arange(self.oldest, self.oldest + 30)
        touched = self.draw.choice(np.arange(gone[-1] + 1, self.newest), 70, replace=False)
        keys = np.sort(np.concatenate([touched, np.arange(self.newest, self.newest + 30)]))
        columns = {"rows": values(keys)}
        self.version = self.table.load(self.version, keys, columns, gone, whole=False)
        self.table.collect()
        self.oldest, self.newest = self.oldest + 30, self.newest + 30
        return self.version


def test_ten_thousand_deltas_of_keys_that_come_and_go_leave_memory_bounded() -> None:
    """R21: base + rows of retained deltas + 4 B a row and version, and the index of two epochs."""
    count = 10_000
    churn = Churn(count)
    held, most = [churn.version], 0
    for _ in range(10_000):
        held = [*held[1 - HELD :], churn.delta()]
        most = max(most, churn.table.bytes)
    # When a delta is loaded, the oldest version has not gone yet.
    rows = (count + HELD * 100) * WIDTH * 4
    keys = 2 * count + 100
    maps = (HELD + 1) * CHUNK * (1 + keys // CHUNK) * 4
    # Cells double when they are half full, so the worst is four a key; older epochs are smaller.
    indexes = 2 * keys * (4 * CELL_BYTES + KEY_BYTES)
    assert most <= rows + maps + indexes
    assert churn.version.rows == count
    asked = np.arange(churn.oldest - 100, churn.newest + 100)
    is_there = (asked >= churn.oldest) & (asked < churn.newest)
    expected = np.where(is_there[:, None], values(asked), 0)
    np.testing.assert_array_equal(churn.version.gather("rows", asked), expected)


def test_an_index_goes_with_the_last_version_that_uses_it() -> None:
    churn = Churn(100)
    pinned, first = churn.version, weakref.ref(churn.version.index)
    for _ in range(20):
        churn.delta()
    assert churn.version.index is not first()
    assert pinned.index is first(), "a request still reads it"
    asked = np.arange(100)
    np.testing.assert_array_equal(pinned.gather("rows", asked), values(asked))
    del pinned
    assert first() is None


def test_an_index_ends_where_it_would_grow_for_keys_that_have_gone() -> None:
    churn = Churn(10_000)
    cells = {churn.version.index.bytes - KEY_BYTES * len(churn.version.index)}
    for _ in range(400):  # 12,000 new keys
        index = churn.delta().index
        cells.add(index.bytes - KEY_BYTES * len(index))
    assert cells == {2 * CELL_BYTES * (1 << 14)}


def test_a_table_whose_keys_stay_keeps_its_index() -> None:
    churn = Churn(1000)
    first, keys = churn.version.index, np.arange(0, 1000, 7)
    columns = {"rows": values(keys) + 1}
    version = churn.table.load(churn.version, keys, columns, NO_KEYS, whole=False)
    assert version.index is first


def test_a_delta_of_more_rows_than_are_worked_on_at_a_time() -> None:
    """R23: after each of its pieces, the thread that applies it may rest."""
    churn, rests = Churn(3 * PIECE), []
    keys, gone = np.arange(2 * PIECE + 7), np.arange(2 * PIECE + 7, 3 * PIECE)
    columns = {"rows": values(keys) + 1}
    version = churn.table.load(
        churn.version, keys, columns, gone, whole=False, rest=lambda: rests.append(None)
    )
    assert len(rests) == 3
    assert version.rows == len(keys)
    assert version.digest == combined(EMPTY_STATE, row_hashes(keys, columns), NO_HASHES)
    asked = np.concatenate([keys, gone])
    expected = np.concatenate([columns["rows"], np.zeros((len(gone), WIDTH))])
    np.testing.assert_array_equal(version.gather("rows", asked), expected)
    np.testing.assert_array_equal(churn.version.gather("rows", asked), values(asked))
