"""How often, and when last, each row was trained: what eviction goes by.

A table that keeps account has the column `usage`, uint32[n, 3] by row: FREQUENCY, STEP, TIME. Only
training writes it, and only for rows that the optimizer wrote; scoring reads a table without a
trace. All of it follows from the stream, so a replay arrives at the same account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.tables.prefetching import AHEAD, prefetch
from millstream_core.tables.snapshots import ColumnSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.index import Keys
    from millstream_core.tables.slots import Distinct, Slots

USAGE: Final = "usage"
USAGE_COLUMN: Final = ColumnSpec(dtype="uint32", width=3)
FREQUENCY: Final = 0  # occurrences in units of 1 / ONE, halved by time where so configured
STEP: Final = 1  # number of the last step that wrote the row
TIME: Final = 2  # latest event time, in whole Unix seconds
ONE: Final = 256
_MOST: Final = 2**32 - 1  # 16.7 million occurrences; no table tells larger frequencies apart


@dataclass(frozen=True)
class Moment:
    """Where training stands: the number of the step under way and the clock of the stream."""

    step: int
    now: float  # Unix seconds of event time; never goes back


@dataclass(frozen=True)
class Uses:
    """What a step looks up in one table; holds until the table admits or evicts."""

    keys: Keys  # int64[n], distinct; those without a row ascending
    slots: Slots  # int32[n], where their rows are; -1 where they have none
    counts: NDArray[np.int64]  # [n] occurrences
    times: NDArray[np.float64]  # [n] latest event time, Unix seconds

    @classmethod
    def of(
        cls,
        distinct: Distinct,
        times: NDArray[np.float64],
        index: NDArray[np.int64] | None = None,
    ) -> Uses:
        """Count occurrences.

        Args:
            distinct: the keys.
            times: float64[m], Unix seconds, one for each occurrence.
            index: int64[m], into the keys, one for each occurrence; None: as they were found.
        """
        count = len(distinct.keys)
        uses = cls(distinct.keys, distinct.slots, np.zeros(count, np.int64), np.zeros(count))
        _count(distinct.index if index is None else index, times, uses.counts, uses.times)
        return uses

    def at(self, places: NDArray[np.int64]) -> Uses:
        """Those of these keys alone."""
        return Uses(self.keys[places], self.slots[places], self.counts[places], self.times[places])


def note_uses(
    usage: NDArray[np.uint32],
    slots: Slots,
    uses: Uses,
    step: int,
    half_life_seconds: float | None,
) -> None:
    """Enter a step into the account.

    Args:
        usage: uint32[max_rows, 3], changed in place.
        slots: int32[n], the rows of `uses`; each at most once, negative ones are passed over.
        uses: of the step.
        step: its number.
        half_life_seconds: event time in which a frequency halves; None: never.
    """
    _note(usage, slots, uses.counts, uses.times, step, half_life_seconds or np.inf)


@njit(cache=True, nogil=True)
def _count(
    index: NDArray[np.int64],
    times: NDArray[np.float64],
    counts: NDArray[np.int64],
    latest: NDArray[np.float64],
) -> None:
    for i in range(len(index)):
        counts[index[i]] += 1
        latest[index[i]] = max(latest[index[i]], times[i])


@njit(cache=True, nogil=True)
def _note(
    usage: NDArray[np.uint32],
    slots: NDArray[np.int32],
    counts: NDArray[np.int64],
    times: NDArray[np.float64],
    step: int,
    half_life: float,
) -> None:
    for i in range(len(slots)):
        if i + AHEAD < len(slots):
            prefetch(usage, max(0, slots[i + AHEAD]))
        slot = slots[i]
        if slot < 0:
            continue
        then, time = float(usage[slot, TIME]), np.floor(times[i])
        latest = max(then, time)
        before, added = float(usage[slot, FREQUENCY]), float(ONE * counts[i])
        if half_life != np.inf:  # powers take longer than all the rest
            before *= 2.0 ** ((then - latest) / half_life)
            added *= 2.0 ** ((time - latest) / half_life)
        frequency = before + added
        usage[slot, FREQUENCY] = min(np.rint(frequency), float(_MOST))
        usage[slot, STEP] = step
        usage[slot, TIME] = latest
