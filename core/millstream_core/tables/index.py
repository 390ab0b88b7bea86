"""From 64-bit keys to ordinals 0, 1, 2 …: an open-addressing hash table that grows.

One writer, many readers, no lock: a reader takes the current array once and probes it. The writer
fills a cell's key before its ordinal, so a reader finds a cell either empty or whole; growing
builds a new array and swaps the reference. Ordinals are handed out in order of first insertion
and never change, so arrays beside the index can simply be indexed by them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_core.tables.arena import Arena
from millstream_core.tables.hashing import GOLDEN, mix
from millstream_core.tables.prefetching import AHEAD, prefetch

EMPTY: Final = np.int64(-1)
FIRST_CELLS: Final = 1024
MAX_LOAD: Final = 0.5  # linear probing stays short up to here

Keys = NDArray[np.int64]
Ordinals = NDArray[np.int32]


class KeyIndex:
    """int64 keys to int32 ordinals; any int64 is a valid key."""

    def __init__(self, max_keys: int = 1 << 26) -> None:
        """Start empty.

        Args:
            max_keys: bound on the number of keys; only address space is set aside for them.
        """
        self._cells = empty_cells(FIRST_CELLS)
        self._keys = Arena(np.dtype(np.int64), 1, max_keys)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def bytes(self) -> int:
        """Memory of the cells and of the keys by ordinal."""
        return self._cells.nbytes + self._count * self._keys.values.itemsize

    def keys(self) -> Keys:
        """All keys by ordinal, int64[len]."""
        keys: Keys = self._keys.values[: self._count, 0]
        return keys

    @property
    def cells(self) -> NDArray[np.int64]:
        """As they are now, for `find_cells`; a reader takes them once."""
        return self._cells

    def lookup(self, keys: Keys) -> Ordinals:
        """Ordinals of these keys, int32[n]; -1 where a key is not known."""
        found = np.empty(len(keys), np.int32)
        find_cells(self._cells, keys, found)
        return found

    def would_grow(self, more: int) -> bool:
        """Whether so many more keys need another array of cells."""
        return self._count + more > MAX_LOAD * len(self._cells)

    def insert(self, keys: Keys) -> Ordinals:
        """Ordinals of these keys, int32[n]; unknown keys get the next ones.

        Raises:
            MemoryError: more keys than the index was made for.
        """
        if self.would_grow(len(keys)):
            # Ask what is really new before growing: a batch mostly repeats known keys.
            new = int(np.count_nonzero(self.lookup(keys) < 0))
            if self.would_grow(new):
                self._grow(self._count + new)
        if self._count + len(keys) > len(self._keys.values) - 1:
            self._refuse_beyond_bound(keys)
        ordinals = np.empty(len(keys), np.int32)
        self._count = _insert(self._cells, self._keys.values, self._count, keys, ordinals)
        return ordinals

    def _grow(self, count: int) -> None:
        size = len(self._cells)
        while count > MAX_LOAD * size:
            size *= 2
        cells = empty_cells(size)
        _fill(cells, self.keys())
        self._cells = cells

    def _refuse_beyond_bound(self, keys: Keys) -> None:
        new = np.unique(keys[self.lookup(keys) < 0])
        if self._count + len(new) > len(self._keys.values):
            raise MemoryError(
                f"the table is made for {len(self._keys.values)} keys and would get "
                f"{self._count + len(new)}: raise its max_keys"
            )


def empty_cells(size: int) -> NDArray[np.int64]:
    """int64[size, 2]: key and ordinal side by side, one cache line a probe; size a power of 2."""
    cells = np.empty((size, 2), np.int64)
    cells[:, 1] = EMPTY
    return cells


@njit(cache=True, nogil=True, inline="always")
def home_cell(key: np.int64, size: int) -> np.int64:
    """Where the search for a key begins among `size` cells."""
    return np.int64(mix(np.uint64(key) + GOLDEN) & np.uint64(size - 1))


@njit(cache=True, nogil=True)
def find_cells(cells: NDArray[np.int64], keys: Keys, found: Ordinals) -> None:
    """Write into `found` what the cells of these keys hold, -1 where there is none."""
    size = len(cells)
    for i in range(len(keys)):
        if i + AHEAD < len(keys):
            prefetch(cells, home_cell(keys[i + AHEAD], size))
        cell = home_cell(keys[i], size)
        while cells[cell, 1] != -1 and cells[cell, 0] != keys[i]:
            cell = (cell + 1) & (size - 1)
        found[i] = cells[cell, 1]


@njit(cache=True, nogil=True)
def _insert(
    cells: NDArray[np.int64],
    known: NDArray[np.int64],
    count: int,
    keys: Keys,
    ordinals: Ordinals,
) -> int:
    size = len(cells)
    for i in range(len(keys)):
        if i + AHEAD < len(keys):
            prefetch(cells, home_cell(keys[i + AHEAD], size))
        cell = home_cell(keys[i], size)
        while cells[cell, 1] != -1 and cells[cell, 0] != keys[i]:
            cell = (cell + 1) & (size - 1)
        if cells[cell, 1] == -1:
            known[count, 0] = keys[i]
            cells[cell, 0] = keys[i]
            cells[cell, 1] = count
            count += 1
        ordinals[i] = cells[cell, 1]
    return count


@njit(cache=True, nogil=True)
def _fill(cells: NDArray[np.int64], keys: Keys) -> None:
    size = len(cells)
    for ordinal in range(len(keys)):
        cell = home_cell(keys[ordinal], size)
        while cells[cell, 1] != -1:
            cell = (cell + 1) & (size - 1)
        cells[cell, 0] = keys[ordinal]
        cells[cell, 1] = ordinal
