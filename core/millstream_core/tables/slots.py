"""From 64-bit keys to slots, with removal: an open-addressing hash table for one thread.

A slot that a removed key leaves is the next to be given out, so arrays beside the index need as
many rows as there ever were keys at one time. Removal shifts the cells behind the hole back
(Knuth, The Art of Computer Programming, volume 3, section 6.4, algorithm R): no tombstone stays,
and look-ups are as short after a billion removals as before. Servers, whose readers take no lock,
use `index`, which shares the layout of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_core.tables.arena import Arena
from millstream_core.tables.index import (
    EMPTY,
    FIRST_CELLS,
    MAX_LOAD,
    Keys,
    empty_cells,
    find_cells,
    home_cell,
)
from millstream_core.tables.prefetching import AHEAD, prefetch

Slots = NDArray[np.int32]


@dataclass(frozen=True)
class Distinct:
    """The keys of a batch, each once: known ones as met, then unknown ones ascending."""

    keys: Keys  # int64[n]
    slots: Slots  # int32[n]; -1 where a key is not known
    index: NDArray[np.int64]  # of each key of the batch, into these


class SlotIndex:
    """int64 keys to int32 slots; any int64 is a valid key."""

    def __init__(self, max_keys: int = 1 << 26) -> None:
        """Start empty.

        Args:
            max_keys: bound on the keys at one time; only address space is set aside for them.
        """
        self._cells = empty_cells(FIRST_CELLS)
        self._keys = Arena(np.dtype(np.int64), 1, max_keys)
        self._in_use = Arena(np.dtype(np.bool_), 1, max_keys)
        self._free = Arena(np.dtype(np.int32), 1, max_keys)  # a stack of slots below `end`
        self._count = 0
        self.end = 0  # all slots in use are below

    def __len__(self) -> int:
        return self._count

    @property
    def bytes(self) -> int:
        """Memory of the cells and of what is kept by slot."""
        by_slot = sum(a.values.itemsize for a in (self._keys, self._in_use, self._free))
        return self._cells.nbytes + self.end * by_slot

    def lookup(self, keys: Keys) -> Slots:
        """Slots of these keys, int32[n]; -1 where a key is not known."""
        found = np.empty(len(keys), np.int32)
        find_cells(self._cells, keys, found)
        return found

    def slots(self) -> Slots:
        """All slots in use, ascending, int32[len]."""
        return np.flatnonzero(self._in_use.values[: self.end, 0]).astype(np.int32)

    def are_in_use(self, slots: Slots) -> NDArray[np.bool_]:
        """Which of these slots have a key, bool[n]."""
        return np.take(self._in_use.values[:, 0], slots)

    def free_slots(self, below: int) -> Slots:
        """Slots below this one that keys have left, ascending, int32[n]."""
        return np.flatnonzero(~self._in_use.values[: min(below, self.end), 0]).astype(np.int32)

    def distinct(self, keys: Keys) -> Distinct:
        """Each of these keys once, with its slot.

        A cell that is met holds the key's place among the distinct ones until the pass is over,
        so nothing is sorted but keys without a slot.
        """
        index = np.empty(len(keys), np.int64)
        known, slots = np.empty(len(keys), np.int64), np.empty(len(keys), np.int32)
        cells, strange = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
        count, strangers = _distinct(self._cells, keys, index, known, slots, cells, strange)
        strange = strange[:strangers]
        unknown, places = np.unique(keys[strange], return_inverse=True)
        index[strange] = count + places
        return Distinct(
            np.concatenate([known[:count], unknown]),
            np.concatenate([slots[:count], np.full(len(unknown), -1, np.int32)]),
            index,
        )

    def keys_at(self, slots: Slots) -> Keys:
        """The keys that have these slots, int64[n]."""
        return np.take(self._keys.values[:, 0], slots)

    def insert(self, keys: Keys) -> tuple[Slots, NDArray[np.int64]]:
        """Give unknown ones of these keys a slot.

        Returns:
            (slots of all of them, int32[n]; places in `keys` of those that are new, int64[m]).

        Raises:
            MemoryError: more keys than the index was made for; nothing has changed.
        """
        if self._count + len(keys) > min(MAX_LOAD * len(self._cells), len(self._keys.values)):
            # Ask what is really new before growing: a batch mostly repeats known keys.
            self._make_room(keys[self.lookup(keys) < 0])
        slots, new = np.empty(len(keys), np.int32), np.empty(len(keys), np.int64)
        free = self.end - self._count
        added = _insert(
            self._cells,
            keys,
            self._keys.values,
            self._in_use.values,
            self._free.values,
            free,
            self.end,
            slots,
            new,
        )
        self._count += added
        self.end += max(0, added - free)
        return slots, new[:added]

    def remove(self, keys: Keys) -> Slots:
        """Take the slots of these keys back, int32[n]; -1 where a key is not known."""
        if not self._count:
            return np.full(len(keys), EMPTY, np.int32)
        slots = np.empty(len(keys), np.int32)
        _remove(self._cells, keys, slots)
        freed = slots[slots >= 0]
        self._in_use.values[freed, 0] = False
        free = self.end - self._count
        self._free.values[free : free + len(freed), 0] = freed
        self._count -= len(freed)
        return slots

    def end_with(self, more: int) -> int:
        """Where `end` would be with so many more keys."""
        return self.end + max(0, more - (self.end - self._count))

    def exchange(self, left: Slots, right: Slots) -> None:
        """Let the keys of slots change places, pair by pair.

        Args:
            left: int32[n], each at most once; some may be free.
            right: int32[n], in use, none of them in `left`.
        """
        keys = self.keys_at(right)
        was_free = ~self.are_in_use(left)
        _point(self._cells, self.keys_at(left[~was_free]), right[~was_free])
        _point(self._cells, keys, left)
        self._keys.values[right, 0] = self.keys_at(left)
        self._keys.values[left, 0] = keys
        if was_free.any():
            self._in_use.values[left[was_free], 0] = True
            self._in_use.values[right[was_free], 0] = False
            self._free_instead(left[was_free], right[was_free])

    def _free_instead(self, taken: Slots, freed: Slots) -> None:
        stack = self._free.values[: self.end - self._count, 0]
        places = np.flatnonzero(np.isin(stack, taken))
        order = np.argsort(taken)
        stack[places] = freed[order][np.searchsorted(taken[order], stack[places])]

    def _make_room(self, unknown: Keys) -> None:
        count, most = self._count + len(unknown), len(self._keys.values)
        if count > most:
            ordered = np.sort(unknown)  # np.unique of millions of keys takes minutes
            count -= int(np.count_nonzero(ordered[1:] == ordered[:-1]))
        if count > most:
            raise MemoryError(
                f"the table is made for {most} keys and would get {count}: evict rows sooner or "
                "raise its max_rows"
            )
        size = len(self._cells)
        while count > MAX_LOAD * size:
            size *= 2
        if size > len(self._cells):
            cells = empty_cells(size)
            _move(self._cells, cells)
            self._cells = cells


@njit(cache=True, nogil=True)
def _insert(
    cells: NDArray[np.int64],
    keys: Keys,
    key_of: NDArray[np.int64],
    in_use: NDArray[np.bool_],
    free: NDArray[np.int32],
    free_count: int,
    end: int,
    slots: Slots,
    new: NDArray[np.int64],
) -> int:
    size, added = len(cells), 0
    for i in range(len(keys)):
        if i + AHEAD < len(keys):
            prefetch(cells, home_cell(keys[i + AHEAD], size))
        cell = home_cell(keys[i], size)
        while cells[cell, 1] != EMPTY and cells[cell, 0] != keys[i]:
            cell = (cell + 1) & (size - 1)
        if cells[cell, 1] == EMPTY:
            slot = end + added - free_count
            if added < free_count:
                slot = int(free[free_count - 1 - added, 0])
            cells[cell, 0] = key_of[slot, 0] = keys[i]
            cells[cell, 1] = slot
            in_use[slot, 0] = True
            new[added] = i
            added += 1
        slots[i] = cells[cell, 1]
    return added


@njit(cache=True, nogil=True)
def _point(cells: NDArray[np.int64], keys: Keys, slots: Slots) -> None:
    """Give known keys other slots."""
    size = len(cells)
    for i in range(len(keys)):
        cell = home_cell(keys[i], size)
        while cells[cell, 0] != keys[i] or cells[cell, 1] == EMPTY:
            cell = (cell + 1) & (size - 1)
        cells[cell, 1] = slots[i]


@njit(cache=True, nogil=True)
def _distinct(
    cells: NDArray[np.int64],
    keys: Keys,
    index: NDArray[np.int64],
    known: Keys,
    slots: Slots,
    met: NDArray[np.int64],
    strange: NDArray[np.int64],
) -> tuple[int, int]:
    size, count, strangers = len(cells), 0, 0
    for i in range(len(keys)):
        if i + AHEAD < len(keys):
            prefetch(cells, home_cell(keys[i + AHEAD], size))
        cell = home_cell(keys[i], size)
        while cells[cell, 1] != EMPTY and cells[cell, 0] != keys[i]:
            cell = (cell + 1) & (size - 1)
        held = cells[cell, 1]
        if held == EMPTY:
            strange[strangers] = i
            strangers += 1
            continue
        # No branch on what nobody can foresee, whether a key was met before: what is written for
        # one that was, the next new one overwrites.
        is_new = held >= 0
        place = count if is_new else EMPTY - 1 - held
        index[i], known[count], slots[count], met[count] = place, keys[i], held, cell
        cells[cell, 1] = EMPTY - 1 - place
        count += is_new
    for i in range(count):
        cells[met[i], 1] = slots[i]
    return count, strangers


@njit(cache=True, nogil=True)
def _remove(cells: NDArray[np.int64], keys: Keys, slots: Slots) -> None:
    last = len(cells) - 1
    for i in range(len(keys)):
        if i + AHEAD < len(keys):
            prefetch(cells, home_cell(keys[i + AHEAD], len(cells)))
        hole = home_cell(keys[i], len(cells))
        while cells[hole, 1] != EMPTY and cells[hole, 0] != keys[i]:
            hole = (hole + 1) & last
        slots[i] = cells[hole, 1]
        if slots[i] < 0:
            continue
        cell = (hole + 1) & last
        while cells[cell, 1] != EMPTY:
            # A cell may move into the hole unless that is before the cell's home.
            home = home_cell(cells[cell, 0], len(cells))
            if ((cell - home) & last) >= ((cell - hole) & last):
                cells[hole, 0] = cells[cell, 0]
                cells[hole, 1] = cells[cell, 1]
                hole = cell
            cell = (cell + 1) & last
        cells[hole, 1] = EMPTY


@njit(cache=True, nogil=True)
def _move(before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
    size = len(after)
    for i in range(len(before)):
        if before[i, 1] != EMPTY:
            cell = home_cell(before[i, 0], size)
            while after[cell, 1] != EMPTY:
                cell = (cell + 1) & (size - 1)
            after[cell, 0] = before[i, 0]
            after[cell, 1] = before[i, 1]
