"""Which rows of a training table have to go, as its EvictionSpec says.

Everything asked here is part of a version, so a trainer that was restored decides as one that was
never stopped. Ties are broken by key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.features import PAD
from millstream_core.tables.ranking import least, ranks_of
from millstream_core.tables.usage import STEP, TIME, USAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.tables import EvictionSpec
    from millstream_core.tables.slots import Slots
    from millstream_core.tables.training import TrainingTable

# Beyond what is too much, this share of the capacity goes too. To find the least of a million
# frequencies takes as long as training hundreds of keys, so it is not done for one row.
SLACK: Final = 64

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
        ranks = ranks_of(usage, slots, rules.lfu.half_life_seconds)
        count = left - rules.lfu.capacity + rules.lfu.capacity // SLACK
        verdicts["lfu"] = least(table, slots, ranks, count)
    return verdicts


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
