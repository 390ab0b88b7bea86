"""Rows by slot, column beside column: in memory and, beyond a budget, on disk.

Most of what uses rows goes by `values` and slots, which are the same wherever a row is. What is
read of every row again and again stays in memory, whatever the budget.

This is the seam for further tiers. Rows on a GPU would be the slots below another bound, placed by
the same `exchanges`; whoever brings them passes the contract in tests/unit/tables/test_storage.py,
and reads and writes what is there by slot on the device, because host code cannot by `values`.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from millstream_core.tables.arena import Arena
from millstream_core.tables.overflow import OverflowFull, OverflowingArena

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from millstream_core.tables.overflow import Overflow
    from millstream_core.tables.slots import Slots

_PIECE: Final = 4 << 20  # bytes of rows copied at a time, in the order in which they lie on disk

Form = tuple["np.dtype[Any]", int]  # of a column: its dtype and the values in a row


class Storage:
    """Columns of rows; one thread writes."""

    def __init__(
        self,
        columns: Mapping[str, Form],
        max_rows: int,
        overflow: Overflow | None = None,
        *,
        in_memory: Collection[str] = (),
    ) -> None:
        """Set aside addresses.

        Args:
            columns: by name.
            max_rows: bound on the rows.
            overflow: how much memory rows may take; None: as much as there is.
            in_memory: columns that do not count and are in memory for every row.

        Raises:
            ValueError: the overflow cannot be used.
        """
        self._overflow = overflow
        sizes = {name: dtype.itemsize * width for name, (dtype, width) in columns.items()}
        self._staying = sum(size for name, size in sizes.items() if name in in_memory)
        self._moving = sum(sizes.values()) - self._staying
        self.memory_rows = max_rows  # the rows of slots below this are in memory
        if overflow is not None:
            self.memory_rows = min(max_rows, overflow.memory_rows(self._moving))
        self._arenas: dict[str, Arena] = {}
        self._on_disk: list[OverflowingArena] = []
        for name, form in columns.items():
            if overflow is None or name in in_memory:
                self._arenas[name] = Arena(*form, max_rows)
            else:
                arena = OverflowingArena(*form, max_rows, overflow.folder, self.memory_rows)
                self._arenas[name] = arena
                self._on_disk.append(arena)

    def values(self, column: str) -> NDArray[Any]:
        """A column, [max_rows, width], by slot."""
        return self._arenas[column].values

    def reserve(self, end: int) -> None:
        """Make sure that all slots below this one can be written.

        Raises:
            OverflowFull: there is no disk for them; nothing has changed.
        """
        if end <= self.memory_rows or self._overflow is None:
            return
        if self.disk_bytes(end) > self._overflow.limit:
            raise OverflowFull(
                f"{end} rows need {self.disk_bytes(end)} bytes of disk beside the memory budget, "
                f"and the overflow ends at {self._overflow.limit}: raise it or the budget, or let "
                "eviction keep fewer rows"
            )
        for arena in self._on_disk:
            arena.reserve(end)

    def fits(self, rows: int) -> bool:
        """Whether copies of so many rows may be in memory."""
        return self._overflow is None or rows <= self.memory_rows

    def room(self, rows: int, width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array for something of each of these rows, [rows, width]; on disk if need be.

        Raises:
            OverflowFull: there is no disk for it.
        """
        if self._overflow is None or self.fits(rows):
            return np.empty((rows, width), dtype)
        return self._overflow.room(rows, width, dtype)

    def take(self, slots: Slots) -> dict[str, NDArray[Any]]:
        """Copies of rows, name -> [n, width].

        Raises:
            OverflowFull: there is no disk for them.
        """
        if self.fits(len(slots)):
            # Not by an array as index, which takes half as long again.
            return {name: np.take(a.values, slots, axis=0) for name, a in self._arenas.items()}
        copies, order = {}, np.argsort(slots)
        for name, arena in self._arenas.items():
            values = arena.values
            copy = self.room(len(slots), values.shape[1], values.dtype)
            count = max(1, _PIECE // values[0].nbytes)
            with arena.read_in_order() if isinstance(arena, OverflowingArena) else nullcontext():
                for start in range(0, len(order), count):
                    places = order[start : start + count]
                    copy[places] = np.take(values, slots[places], axis=0)
            copies[name] = copy
        return copies

    def exchange(self, left: Slots, right: Slots) -> None:
        """Let rows change places, pair by pair; int32[n], no slot twice."""
        for arena in self._arenas.values():
            _exchange(arena.values, left, right)

    def memory_bytes(self, end: int) -> int:
        """Memory of all rows where their slots are below `end`."""
        return end * self._staying + min(end, self.memory_rows) * self._moving

    def disk_bytes(self, end: int) -> int:
        """Disk of all rows where their slots are below `end`."""
        return max(0, end - self.memory_rows) * self._moving


@njit(cache=True, nogil=True)
def _exchange(values: NDArray[Any], left: NDArray[np.int32], right: NDArray[np.int32]) -> None:
    for pair in range(len(left)):
        for j in range(values.shape[1]):
            kept = values[left[pair], j]
            values[left[pair], j] = values[right[pair], j]
            values[right[pair], j] = kept
