"""Which rows of a training table are in memory and which on disk, where it has both.

    in memory   a a a b b c ◄─── the warmest of those trained since ───┐
                          │                                            │
                          └─── the coldest, where worth half at most ──┴─► on disk

Asked after sweeps, at the step barrier. A row on disk can only have become warmer by being
trained, so only those trained since the last time are looked at; and as their pages were just used,
they are still in the page cache: nothing waits for the disk. What is decided follows from the
stream, but for what was in memory when the process began, and no version tells where a row was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.tables.ranking import least, ranks_of
from millstream_core.tables.usage import STEP, USAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.slots import Slots
    from millstream_core.tables.training import TrainingTable

SHARE: Final = 16  # of the rows in memory, one in so many changes places at once, at most
HALF_LIFE_SECONDS: Final = 3600.0  # of event time: what was popular long ago makes room
MARGIN: Final = 1.0  # in powers of 2: rare rows, which are many, would change places for ever


def exchanges(table: TrainingTable, *, since_step: int) -> tuple[Slots, Slots]:
    """The rows that should change places.

    Args:
        table: has a column `usage`.
        since_step: rows on disk that were last trained before have been looked at.

    Returns:
        (slots in memory, some of them free, int32[n]; slots on disk, int32[n]), by pair.
    """
    slots, usage = table.all_slots(), table.values(USAGE)
    split = int(np.searchsorted(slots, table.memory_rows))
    in_memory, on_disk = slots[:split], slots[split:]
    on_disk = on_disk[_are_trained(usage, on_disk, since_step)]
    if not len(on_disk):
        return on_disk, on_disk
    most = max(1, table.memory_rows // SHARE)
    warm, ranks = _coldest(table, on_disk, min(most, len(on_disk)), sign=-1)
    free = table.free_slots(table.memory_rows)[: len(warm)]
    warm_rest, ranks = warm[len(free) :], ranks[len(free) :]
    if not len(warm_rest) or not len(in_memory):
        return free, warm[: len(free)]
    cold, cold_ranks = _coldest(table, in_memory, min(len(warm_rest), len(in_memory)), sign=1)
    goes = np.flatnonzero(ranks[: len(cold)] > cold_ranks + MARGIN)
    return np.concatenate([free, cold[goes]]), np.concatenate([warm[: len(free)], warm_rest[goes]])


def _coldest(
    table: TrainingTable, slots: Slots, count: int, *, sign: int
) -> tuple[Slots, NDArray[np.float64]]:
    """The coldest of these rows, coldest first, with their ranks; by sign −1 the warmest."""
    usage = table.values(USAGE)
    ranks = sign * ranks_of(usage, slots, HALF_LIFE_SECONDS)
    chosen = least(table, slots, ranks - ranks.min(), count)
    ranks = sign * ranks_of(usage, chosen, HALF_LIFE_SECONDS)
    order = np.lexsort((table.keys_at(chosen), ranks))
    return chosen[order], sign * ranks[order]


@njit(cache=True, nogil=True)
def _are_trained(
    usage: NDArray[np.uint32], slots: NDArray[np.int32], since_step: int
) -> NDArray[np.bool_]:
    found = np.empty(len(slots), np.bool_)
    for i in range(len(slots)):
        found[i] = usage[slots[i], STEP] >= since_step
    return found
