"""From logits to the answer: which candidates are best, how likely they are, and whether it holds.

One compiled call in the place of a dozen of numpy's: a request has a hundred logits, and each such
call costs more than the work that it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

if TYPE_CHECKING:
    from millstream_serving.engine.layouts import Vector

Places = NDArray[np.int64]


class Best(NamedTuple):
    """The best of some candidates."""

    places: list[int]  # highest logit first, equal ones in their order
    scores: list[float]  # probabilities, likewise
    total: float  # of the scores
    squares: float  # of the scores, added up


def best_of(logits: Vector, count: int | None) -> Best | int:
    """The best candidates, or how many logits are not finite where some are.

    Args:
        logits: float32[N].
        count: how many of them; None: all.
    """
    kept = len(logits) if count is None else min(count, len(logits))
    places, scores = np.empty(kept, np.int64), np.empty(kept, np.float64)
    bad, total, squares = take_best(logits, places, scores)
    return bad or Best(places.tolist(), scores.tolist(), total, squares)


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Of these logits; exact zeros and ones only beyond double precision."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))


@njit(cache=True, error_model="numpy")  # for 2 µs it does not let go of the interpreter
def take_best(
    logits: Vector, places: Places, scores: NDArray[np.float64]
) -> tuple[int, float, float]:
    """Write the places of the highest logits, and what probabilities they are.

    Each logit is put into its place among the best so far, which for a page of ten is less work
    than to sort them all.

    Args:
        logits: float32[N].
        places: int64[k], k <= N, written.
        scores: float64[k], written.

    Returns:
        How many logits are not finite, and of the scores their sum and the sum of their squares.
    """
    bad, kept = 0, 0
    for i in range(len(logits)):
        logit = logits[i]
        bad += not np.isfinite(logit)
        if kept == len(places):
            if kept == 0 or not logit > logits[places[kept - 1]]:
                continue
            kept -= 1
        place = kept
        while place > 0 and logit > logits[places[place - 1]]:
            places[place] = places[place - 1]
            place -= 1
        places[place] = i
        kept += 1
    total, squares = 0.0, 0.0
    for i in range(kept):
        scores[i] = 1.0 / (1.0 + np.exp(-np.float64(logits[places[i]])))
        total += scores[i]
        squares += scores[i] * scores[i]
    return bad, total, squares
