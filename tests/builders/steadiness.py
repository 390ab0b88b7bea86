"""Whether a process goes on as it began: samples of what it holds, and what they say.

Memory is judged by a slope, not by two readings: a version that is being loaded stands beside the
others for a moment, so single readings jump. Theil and Sen's slope, the median of the slopes of all
pairs, does not mind such jumps as long as they are few, and finds a leak however small its steps.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Self

import numpy as np

from tests.builders.processes import anonymous_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.builders.load import Answer

TICKS = os.sysconf("SC_CLK_TCK")
MOST_PAIRED = 240  # samples of which all pairs are looked at
WINDOW_SECONDS = 5.0


@dataclass(frozen=True)
class Sample:
    """What a process held at one moment."""

    at: float  # of time.monotonic()
    memory: int  # anonymous bytes
    threads: int
    files: int
    processor_seconds: float  # used since it started


class Watch:
    """Takes samples of a process for as long as the `with` lasts."""

    def __init__(self, process: int, every: float = 1.0) -> None:
        self.samples: list[Sample] = []
        self._process, self._every = process, every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def after(self, moment: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.at >= moment]

    def _look(self) -> None:
        while not self._over.wait(self._every):
            self.samples.append(sample_of(self._process))


def sample_of(process: int) -> Sample:
    folder = Path(f"/proc/{process}")
    times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    return Sample(
        at=time.monotonic(),
        memory=anonymous_memory(process),
        threads=len(list((folder / "task").iterdir())),
        files=len(list((folder / "fd").iterdir())),
        processor_seconds=sum(map(int, times)) / TICKS,
    )


def growth(samples: Sequence[Sample]) -> float:
    """Bytes by which memory grew from the first sample to the last, by Theil and Sen's slope."""
    some = samples[:: -(-len(samples) // MOST_PAIRED)]
    slope = median((b.memory - a.memory) / (b.at - a.at) for a, b in combinations(some, 2))
    return slope * (samples[-1].at - samples[0].at)


def rise(samples: Sequence[Sample], what: Callable[[Sample], int]) -> int:
    """By how much the most of something in the last third exceeds the most in the first."""
    third = len(samples) // 3
    return max(map(what, samples[-third:])) - max(map(what, samples[:third]))


def usual_p99(answers: Sequence[Answer], since: float, until: float) -> float:
    """Seconds: the lower quartile, over windows of some seconds, of the p99 in each.

    Whatever else runs on the machine slows windows down, and none up: the faster ones tell what
    the server takes.
    """
    windows: dict[int, list[float]] = {}
    for each in answers:
        if since <= each.sent < until:
            windows.setdefault(int((each.sent - since) // WINDOW_SECONDS), []).append(each.seconds)
    return float(np.percentile([np.percentile(each, 99) for each in windows.values()], 25))
