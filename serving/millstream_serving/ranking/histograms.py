"""Latencies in a fixed set of classes: constant memory, constant time, quantiles within 10 %."""

from __future__ import annotations

import math
from typing import Final

LEAST_SECONDS: Final = 50e-6
GROWTH: Final = 1.2  # each class reaches a fifth further than the one before
CLASSES: Final = 80  # up to 100 s

BOUNDS: Final = tuple(LEAST_SECONDS * GROWTH**i for i in range(CLASSES))


class Histogram:
    """Counts by class; the last class takes everything beyond."""

    def __init__(self) -> None:
        self.counts = [0] * CLASSES
        self.total = 0
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[_class_of(seconds)] += 1
        self.total += 1
        self.sum += seconds

    def quantile(self, share: float) -> float | None:
        """The value that this share of all stays below, in seconds; None where there are none."""
        if not self.total:
            return None
        rank, below = share * self.total, 0
        for i, count in enumerate(self.counts):
            if below + count >= rank and count:
                lower = BOUNDS[i - 1] if i else 0.0
                return lower + (BOUNDS[i] - lower) * (rank - below) / count
            below += count
        return BOUNDS[-1]


def _class_of(seconds: float) -> int:
    if seconds <= LEAST_SECONDS:
        return 0
    return min(CLASSES - 1, math.ceil(math.log(seconds / LEAST_SECONDS) / math.log(GROWTH) - 1e-9))
