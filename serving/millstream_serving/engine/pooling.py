"""What the kernels of pooled histories share: the mean of a history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from millstream_serving.engine.layouts import Matrix


@njit(cache=True, nogil=True, error_model="numpy")
def mean_row(rows: Matrix, count: int, mean: Matrix) -> None:
    """mean[0] = the mean of rows[:count]; zeros of none.

    Args:
        rows: float32[>= count, d].
        count: how many to take.
        mean: float32[1, d], written.
    """
    mean[0, :] = np.float32(0.0)
    for t in range(count):
        for j in range(mean.shape[1]):
            mean[0, j] += rows[t, j]
    for j in range(mean.shape[1]):
        mean[0, j] /= np.float32(max(count, 1))
