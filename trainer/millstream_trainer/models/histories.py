"""Histories: what each user clicked last, read for an event and extended by it, in stream order.

An event sees the clicks before it, also those of the same batch; so does a server that has
learned up to that event. Hence one pass over the batch, event by event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from millstream_core.features import PAD

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PAD = np.int64(PAD)


@njit(cache=True, nogil=True)
def read_and_extend(
    histories: NDArray[np.int64],
    slots: NDArray[np.int32],
    items: NDArray[np.int64],
    labels: NDArray[np.float32],
    seen: NDArray[np.int64],
) -> None:
    """Fill in what each event sees and append what it clicked.

    Args:
        histories: int64[max_rows, L], item keys, oldest first, padded on the left; extended.
        slots: int32[B], the row of each event's user; negative: there is none.
        items: int64[B].
        labels: float32[B].
        seen: int64[B, L], written: the history as of before each event.
    """
    length = histories.shape[1]
    for event in range(len(slots)):
        slot = slots[event]
        if slot < 0:
            seen[event, :] = _PAD
            continue
        seen[event, :] = histories[slot, :]
        if labels[event] > 0:
            for place in range(length - 1):
                histories[slot, place] = histories[slot, place + 1]
            histories[slot, length - 1] = items[event]
