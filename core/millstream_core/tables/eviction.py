"""Which rows of a training table have to go, as its EvictionSpec says.

Everything asked here is part of a version, so a trainer that was restored decides as one that was
never stopped. Ties are broken by key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.features import PAD
from millstream_core.tables.usage import FREQUENCY, STEP, TIME, USAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.tables import EvictionSpec
    from millstream_core.tables.slots import Slots
    from millstream_core.tables.training import TrainingTable

# Beyond what is too much, this share of the capacity goes too. To find the least of a million
# frequencies takes as long as training hundreds of keys, so it is not done for one row.
SLACK: Final = 64

_PARTS: Final = 2048
_SIGN: Final = np.uint64(1 << 63)  # flipped, it makes the bits of signed numbers order them
_SHARED_KEY: Final = np.array([PAD], np.int64)  # its row is nobody's to lose


def condemned(
    table: TrainingTable, rules: EvictionSpec, now: float, *, since_step: int
) -> dict[str, Slots]:
    """The rows to evict, by the rule that names each first: ttl, l2, lfu.

    Args:
        table: has a column `usage`, and `rows` where there is a rule about norms.
        rules: of the table.
        now: event time, Unix seconds.
        since_step: rows that were last written before were already looked at by norm.
    """
    slots, usage = table.all_slots(), table.values(USAGE)
    [shared] = table.slots(_SHARED_KEY)
    if shared >= 0:
        slots = slots[slots != shared]
    verdicts = {}
    if rules.ttl is not None:
        goes = _are_stale(usage, slots, np.floor(now) - rules.ttl.seconds)
        verdicts["ttl"], slots = slots[goes], slots[~goes]
    if rules.l2 is not None:
        goes = _are_small(table.values("rows"), slots, usage, since_step, rules.l2.threshold)
        verdicts["l2"], slots = slots[goes], slots[~goes]
    left = len(table) - sum(map(len, verdicts.values()))
    if rules.lfu is not None and left > rules.lfu.capacity:
        ranks = _ranks(usage, slots, rules.lfu.half_life_seconds)
        count = left - rules.lfu.capacity + rules.lfu.capacity // SLACK
        verdicts["lfu"] = _least(table, slots, ranks, count)
    return verdicts


def _ranks(
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


def _least(table: TrainingTable, slots: Slots, ranks: NDArray[np.float64], count: int) -> Slots:
    """The `count` of these slots with the least ranks; among equal ones the smallest keys."""
    order = ranks.view(np.uint64)  # of no negative ones, which their bits order as they do
    bound = _kth_least(order, count - 1)
    below, ties = np.flatnonzero(order < bound), np.flatnonzero(order == bound)
    wanted = count - len(below)
    if wanted < len(ties):
        tied = table.keys_at(slots[ties]).view(np.uint64) ^ _SIGN
        ties = ties[tied <= _kth_least(tied, wanted - 1)]
    least: Slots = slots[np.concatenate([below, ties])]
    return least


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


@njit(cache=True, nogil=True)
def _are_stale(
    usage: NDArray[np.uint32], slots: NDArray[np.int32], oldest: float
) -> NDArray[np.bool_]:
    found = np.empty(len(slots), np.bool_)
    for i in range(len(slots)):
        found[i] = usage[slots[i], TIME] < oldest
    return found


@njit(cache=True, nogil=True)
def _are_small(
    rows: NDArray[np.float32],
    slots: NDArray[np.int32],
    usage: NDArray[np.uint32],
    since_step: int,
    threshold: float,
) -> NDArray[np.bool_]:
    found = np.zeros(len(slots), np.bool_)
    for i in range(len(slots)):
        slot = slots[i]
        if usage[slot, STEP] < since_step:
            continue
        total = 0.0
        for j in range(rows.shape[1]):
            total += np.float64(rows[slot, j]) * np.float64(rows[slot, j])
        found[i] = total < threshold * threshold
    return found
