"""Which rows of a training table were written since the last commit.

What "written" means must survive failed uploads, so it is never a set that somebody clears. Each
row carries the number of the snapshot period in which it was last written; a commit moves
`committed` forward, a failure moves nothing, and the next snapshot simply takes everything
written after `committed`:

    period   1 ──snapshot──► 2 ──snapshot──► 3 ──snapshot──► 4
    committed      (upload failed)     └── both periods' rows ──┘

A row is also listed when it is written for the first time in a period, so that a snapshot, which
training waits for, looks at what was written and not at all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from millstream_core.tables.arena import Arena
from millstream_core.tables.prefetching import AHEAD, prefetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.slots import Slots


class Written:
    """Slots by the period in which they were last written; one thread writes."""

    def __init__(self, max_rows: int) -> None:
        """No row was written yet.

        Args:
            max_rows: bound on the slots; only address space is set aside for them.
        """
        self.period = 1
        self.committed = 0  # the period of the last committed snapshot
        self._periods = Arena(np.dtype(np.int32), 1, max_rows)
        self._before = np.empty(0, np.int32)  # written after `committed`, until the last snapshot
        self._listed = Arena(np.dtype(np.int32), 1, max_rows)  # written since then, each once
        self._count = 0
        self._most = 0  # of `_listed` that ever was in use

    def bytes(self, end: int) -> int:
        """Memory of it where all slots are below `end`."""
        row = self._periods.values.itemsize
        return (end + self._most) * row + self._before.nbytes

    def note(self, slots: Slots) -> None:
        """These rows are written now; negative slots have none."""
        self._count = _note(
            self._periods.values, slots, self.period, self._listed.values, self._count
        )
        self._most = max(self._most, self._count)

    def slots(self) -> Slots:
        """Written since the last commit, each once; some may have lost their rows."""
        # What was written again is listed again.
        only_before = self._before[self._periods.values[self._before, 0] < self.period]
        return np.concatenate([only_before, self._listed.values[: self._count, 0]])

    def exchange(self, left: Slots, right: Slots) -> None:
        """Rows have changed places, pair by pair; each is in one pair at most."""
        listed = self._listed.values[: self._count, 0]
        _exchange(self._periods.values, left, right, (self._before, listed))

    def turn(self) -> int:
        """A snapshot was taken: begin the next period; returns the one that ended."""
        self._before, self._count = self.slots(), 0
        self.period += 1
        return self.period - 1

    def commit(self, period: int) -> None:
        """The snapshot that ended this period is committed."""
        self.committed = period
        self._before = self._before[self._periods.values[self._before, 0] > period]


@njit(cache=True, nogil=True)
def _note(
    periods: NDArray[np.int32],
    slots: Slots,
    period: int,
    listed: NDArray[np.int32],
    count: int,
) -> int:
    for i in range(len(slots)):
        if i + AHEAD < len(slots):
            prefetch(periods, max(0, slots[i + AHEAD]))
        slot = slots[i]
        if slot >= 0 and periods[slot, 0] != period:
            periods[slot, 0] = period
            listed[count, 0] = slot
            count += 1
    return count


@njit(cache=True, nogil=True)
def _exchange(
    periods: NDArray[np.int32],
    left: Slots,
    right: Slots,
    lists: tuple[Slots, Slots],
) -> None:
    """Exchange periods, and slots wherever they are listed.

    While the lists are read through, the period of a row that moves is the number of its pair.
    """
    count = len(left)
    kept = np.empty((count, 2), np.int32)
    for pair in range(count):
        kept[pair, 0], kept[pair, 1] = periods[left[pair], 0], periods[right[pair], 0]
        periods[left[pair], 0] = -1 - 2 * pair
        periods[right[pair], 0] = -2 - 2 * pair
    for slots in lists:
        for i in range(len(slots)):
            number = -1 - periods[slots[i], 0]
            if number >= 0:
                slots[i] = right[number // 2] if number % 2 == 0 else left[number // 2]
    for pair in range(count):
        periods[left[pair], 0], periods[right[pair], 0] = kept[pair, 1], kept[pair, 0]
