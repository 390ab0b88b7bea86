"""What the kernels of pooled histories share: the mean of a history, and products with one row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from millstream_serving.engine.layouts import Matrix, Vector


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


# Reassociation alone lets the sum be vectorised; full fastmath would assume NaN away.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def dots(x: Matrix, rows: int, w: Matrix, bias: np.float32, logits: Vector, start: int) -> None:
    """logits[start + i] = x[i] · w[0] + bias, of the first `rows` rows.

    Args:
        x: float32[>= rows, width].
        rows: how many to take.
        w: float32[1, >= width].
        bias: added to each.
        logits: float32[>= start + rows], written.
        start: where the first goes.
    """
    for i in range(rows):
        total = np.float32(0.0)
        for j in range(x.shape[1]):
            total += x[i, j] * w[0, j]
        logits[start + i] = total + bias
