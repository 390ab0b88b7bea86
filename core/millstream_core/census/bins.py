"""Histograms whose bins double in width, and the largest of many values.

Frequencies, ages and norms all spread over orders of magnitude. Edges are powers of two, taken
from the exponent of the number itself, so no value is in the wrong bin by rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_core.census.documents import Bin

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log2_bins(values: NDArray[np.float64], floor: float) -> tuple[Bin, ...]:
    """Count values in [0, floor), [floor, 2 · floor), [2 · floor, 4 · floor) and so on.

    Args:
        values: [n], finite and not negative.
        floor: a power of two; smaller values are not told apart.

    Returns:
        The bins from the first that holds a value to the last, empty ones between included.
    """
    if not len(values):
        return ()
    # A number is m · 2^e with m in [0.5, 1).
    exponents = np.frexp(values / floor)[1]
    counts = np.bincount(np.where(values < floor, 0, exponents))
    first = int(np.flatnonzero(counts)[0])
    return tuple(
        Bin(
            low=floor * 2.0 ** (place - 1) if place else 0.0,
            high=floor * 2.0**place,
            rows=int(counts[place]),
        )
        for place in range(first, len(counts))
    )


def largest(values: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the largest values, largest first; of equal ones the first place first.

    Args:
        values: [n].
        count: how many at most.
    """
    count = min(count, len(values))
    if count == 0:
        return np.empty(0, np.int64)
    bound = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= bound)
    return places[np.argsort(-values[places], kind="stable")[:count]]
