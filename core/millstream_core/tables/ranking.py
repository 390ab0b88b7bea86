"""Rows in order of their use, aged by time: what eviction and placement choose by.

Ties are broken by key, so that equal streams choose equal rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.tables.usage import FREQUENCY, TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.slots import Slots
    from millstream_core.tables.training import TrainingTable

_PARTS: Final = 2048
_SIGN: Final = np.uint64(1 << 63)  # flipped, it makes the bits of signed numbers order them


def ranks_of(
    usage: NDArray[np.uint32], slots: Slots, half_life_seconds: float | None
) -> NDArray[np.float64]:
    """What orders rows as their frequencies at any one time do, float64[n].

    A frequency f noted at time t is f · 2^((t − now) / half-life) by now. The logarithm of that
    to the base 2 differs from the rank by the same for all rows.
    """
    ranks: NDArray[np.float64] = np.maximum(_column(usage, slots, FREQUENCY), 1)
    if half_life_seconds is not None:
        ranks = np.log2(ranks) + _column(usage, slots, TIME) / half_life_seconds
    return ranks


def least(table: TrainingTable, slots: Slots, ranks: NDArray[np.float64], count: int) -> Slots:
    """The `count` of these slots with the least ranks; among equal ones the smallest keys."""
    order = ranks.view(np.uint64)  # of no negative ones, which their bits order as they do
    bound = _kth_least(order, count - 1)
    below, ties = np.flatnonzero(order < bound), np.flatnonzero(order == bound)
    wanted = count - len(below)
    if wanted < len(ties):
        tied = table.keys_at(slots[ties]).view(np.uint64) ^ _SIGN
        ties = ties[tied <= _kth_least(tied, wanted - 1)]
    found: Slots = slots[np.concatenate([below, ties])]
    return found


@njit(cache=True, nogil=True)
def _kth_least(values: NDArray[np.uint64], k: int) -> np.uint64:
    """The value that has `k` others before it in order.

    Sorted into 2,048 equal parts of their range, then the part that it is in likewise, until all
    in it are equal. np.partition slows down where many are equal, as rare keys' frequencies are.
    """
    left = values
    while True:
        least: np.uint64 = left.min()
        most: np.uint64 = left.max()
        if least == most:
            return least
        shift = np.uint64(0)
        while (most - least) >> shift >= np.uint64(_PARTS):
            shift += np.uint64(1)
        counts = np.zeros(_PARTS, np.int64)
        for value in left:
            counts[(value - least) >> shift] += 1
        part = 0
        while k >= counts[part]:
            k -= counts[part]
            part += 1
        kept, count = np.empty(counts[part] + 1, np.uint64), 0  # one more: written, then kept
        for value in left:
            kept[count] = value
            count += (value - least) >> shift == np.uint64(part)
        left = kept[:count]


@njit(cache=True, nogil=True)
def _column(
    usage: NDArray[np.uint32], slots: NDArray[np.int32], column: int
) -> NDArray[np.float64]:
    found = np.empty(len(slots))
    for i in range(len(slots)):
        found[i] = usage[slots[i], column]
    return found
