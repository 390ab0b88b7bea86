"""Row-wise Adagrad: one accumulator for a whole row, the mean of its squared gradients.

The rule of FBGEMM's EXACT_ROWWISE_ADAGRAD (https://pytorch.org/FBGEMM, "Table Batched
Embedding"), which recommender tables are commonly trained with: per row a width-th of Adagrad's
memory and one square root instead of one per value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPSILON: Final = np.float32(1e-8)


@njit(cache=True, nogil=True)
def update_rows(
    rows: NDArray[np.float32],
    accumulators: NDArray[np.float32],
    slots: NDArray[np.int32],
    gradients: NDArray[np.float32],
    rate: np.float32,
) -> None:
    """Take one step in place.

    Args:
        rows: float32[max_rows, d].
        accumulators: float32[max_rows, 1].
        slots: int32[n], each at most once; negative ones are passed over.
        gradients: float32[n, d].
        rate: the learning rate.
    """
    width = rows.shape[1]
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        total = np.float32(0)
        for j in range(width):
            total += gradients[i, j] * gradients[i, j]
        accumulators[slot, 0] += total / np.float32(width)
        scale = rate / (np.sqrt(accumulators[slot, 0]) + EPSILON)
        for j in range(width):
            rows[slot, j] -= scale * gradients[i, j]
