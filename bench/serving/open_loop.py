"""How long users wait: requests come when they come, whether the last one is answered or not.

Arrivals are a Poisson process. Waiting counts from the moment a request was due, so a server that
stalls is charged for all who came meanwhile (coordinated omission: Tene, How NOT to measure
latency, 2013), and a client that is late itself makes the server look worse, never better.
"""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.serving.connections import Connections, message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from bench.serving.connections import Outcome
    from bench.serving.workload import Request

LONGEST_SECONDS: Final = 10.0  # from due to answered; what takes longer has failed
HEAD_START_SECONDS: Final = 0.05
NONE: Final = MappingProxyType[str, str]({})


@dataclass(frozen=True)
class Visit:
    """What came of the requests of one run."""

    seconds: float  # in which they were due
    answered: NDArray[np.float64]  # milliseconds from due to answered, of those with status 200
    refused: NDArray[np.float64]  # the same of those with 503 and Retry-After
    failed: int  # all others

    @property
    def p50(self) -> float:
        """Milliseconds."""
        return percentile(self.answered, 50)

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return percentile(self.answered, 99)

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return len(self.answered) / self.seconds

    @property
    def unanswered(self) -> int:
        """Refused or failed."""
        return len(self.refused) + self.failed


def visit(
    url: str,
    requests: Sequence[Request],
    *,
    per_second: float,
    seconds: float,
    headers: Mapping[str, str] = NONE,
) -> Visit:
    """Send requests at this mean rate for so long; all of them POST to this URL."""
    messages = [message(url, each.body(), headers) for each in requests]
    due = arrivals(per_second, seconds, np.random.default_rng(5))
    with _undisturbed(), Connections(url) as connections:
        began = time.perf_counter() + HEAD_START_SECONDS
        for number, at in enumerate((began + due).tolist()):
            connections.read_until(at)
            connections.send(messages[number % len(messages)], at)
        connections.read_until(time.perf_counter() + LONGEST_SECONDS, or_all_are_answered=True)
        return summed(connections.outcomes, len(due), seconds)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Collect no garbage of what a benchmark holds already: to look through it takes 0.1 s."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def arrivals(per_second: float, seconds: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """When requests are due, in seconds from the first moment: a Poisson process, float64[n]."""
    return np.cumsum(draw.exponential(1 / per_second, int(per_second * seconds)))


def summed(outcomes: Sequence[Outcome], sent: int, seconds: float) -> Visit:
    """A run whose requests came to this; those without an outcome in time have failed."""
    in_time = [each for each in outcomes if each.waited <= LONGEST_SECONDS]
    answered = [each.waited * 1e3 for each in in_time if each.status == 200]
    refused = [each.waited * 1e3 for each in in_time if each.status == 503 and each.is_told_when]
    return Visit(
        seconds=seconds,
        answered=np.array(answered),
        refused=np.array(refused),
        failed=sent - len(answered) - len(refused),
    )


def percentile(waits: NDArray[np.float64], of: float) -> float:
    """What so many of a hundred do not exceed; not a number where there are none."""
    return float(np.percentile(waits, of)) if len(waits) else float("nan")
