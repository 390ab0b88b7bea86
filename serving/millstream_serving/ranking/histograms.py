"""Seconds in a fixed set of classes: constant memory, constant time, quantiles within 10 %."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

GROWTH: Final = 1.2  # each class reaches a fifth further than the one before
CLASSES: Final = 80

# Upper bounds of the classes, in seconds.
LATENCIES: Final = tuple(50e-6 * GROWTH**i for i in range(CLASSES))  # up to 90 s
AGES: Final = tuple(0.5 * GROWTH**i for i in range(CLASSES))  # up to ten days


class Histogram:
    """Counts by class; the last class takes everything beyond."""

    def __init__(self, bounds: tuple[float, ...] = LATENCIES) -> None:
        self.bounds = bounds
        self.counts = [0] * CLASSES
        self.total = 0
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[min(bisect_left(self.bounds, seconds), CLASSES - 1)] += 1
        self.total += 1
        self.sum += seconds

    def quantile(self, share: float) -> float | None:
        """The value that this share of all stays below, in seconds; None where there are none."""
        if not self.total:
            return None
        rank, below = share * self.total, 0
        for i, count in enumerate(self.counts):
            if below + count >= rank and count:
                lower = self.bounds[i - 1] if i else 0.0
                return lower + (self.bounds[i] - lower) * (rank - below) / count
            below += count
        return self.bounds[-1]
