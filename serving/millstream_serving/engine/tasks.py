"""From the last layer to the logit of a candidate: a neuron for each task, and all tasks as one.

A model of clicks has one neuron, whose output is the logit. One that learned conversions, too, has
two, of a click and of a conversion once clicked; candidates are ranked by the chance of both (Ma et
al., Entire Space Multi-Task Model, SIGIR 2018). Whoever reads the logit need not know which it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from millstream_serving.engine.layouts import Matrix, Vector


# Reassociation alone lets the sums be vectorised; full fastmath would assume NaN away.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def write_logits(x: Matrix, rows: int, w: Matrix, bias: Vector, logits: Vector, start: int) -> None:
    """logits[start + i] = what the tasks' neurons say together of x[i], of the first `rows` rows.

    Args:
        x: float32[>= rows, width], the last hidden layer.
        rows: how many to take.
        w: float32[T, >= width], T = 1 or 2 neurons.
        bias: float32[>= T], of each.
        logits: float32[>= start + rows], written.
        start: where the first goes.
    """
    for i in range(rows):
        click = np.float32(0.0)
        for j in range(x.shape[1]):
            click += x[i, j] * w[0, j]
        logits[start + i] = click + bias[0]
    if len(w) == 1:
        return
    for i in range(rows):
        conversion = np.float32(0.0)
        for j in range(x.shape[1]):
            conversion += x[i, j] * w[1, j]
        logits[start + i] = of_both(logits[start + i], conversion + bias[1])


@njit(cache=True, nogil=True, error_model="numpy")
def of_both(click: np.float32, conversion: np.float32) -> np.float32:
    """The logit of the product of two chances, each given as a logit.

    With p and q the chances, (1 - pq) / pq = e^-a + e^-b + e^-(a + b): nothing is subtracted that
    is nearly equal, however sure the network is.

    Returns:
        Not a number where one of the logits is not finite, though the product may well be: what is
        not finite must show in the score.
    """
    if not (np.isfinite(click) and np.isfinite(conversion)):
        return np.float32(np.nan)
    first, second = -click, -conversion
    both = first + second
    most = max(first, second, both)
    rest = np.exp(first - most) + np.exp(second - most) + np.exp(both - most)
    return np.float32(-(most + np.log(rest)))
