"""How much of a processor the loading thread takes from those that answer."""

from __future__ import annotations

import time

import pytest

from millstream_serving.loading.pace import (
    AT_ONCE_SECONDS,
    LONGEST_SECONDS,
    SHARE,
    SHORTEST_SECONDS,
    Pace,
    rest_due,
)


@pytest.mark.parametrize(
    ("worked", "elapsed", "rested", "due"),
    [
        pytest.param(0.0, 0.0, 0.0, 0.0, id="nothing is done yet"),
        pytest.param(AT_ONCE_SECONDS, 0.02, 0.0, 0.0, id="a small version needs no rest"),
        pytest.param(0.06, 0.06, 0.0, 0.26, id="what goes beyond has its share of one processor"),
        pytest.param(0.06, 0.3, 0.0, 0.0, id="busy processors have been rest enough"),
        pytest.param(0.03, 0.03, 0.0, 0.0, id="a short rest waits until it is worth it"),
        pytest.param(0.3, 1.1, 0.8, 0.2, id="the last rest ends with what a version may wait"),
        pytest.param(1.0, 2.0, LONGEST_SECONDS, 0.0, id="then it goes on without"),
    ],
)
def test_rests(worked: float, elapsed: float, rested: float, due: float) -> None:
    """R23: a pure function of what was done."""
    assert rest_due(worked, elapsed, rested) == pytest.approx(due)


def test_a_long_work_takes_its_share_and_ends() -> None:
    """R23: it is spread out, and never for longer than the longest rests."""
    pace, began = Pace(), time.monotonic()
    worked_before = time.thread_time()
    while (worked := time.thread_time() - worked_before) < 2 * AT_ONCE_SECONDS:
        pace.rest()
    elapsed = time.monotonic() - began
    at_least = (worked - AT_ONCE_SECONDS) / SHARE - SHORTEST_SECONDS
    assert at_least * 0.9 <= elapsed
    assert elapsed - worked < LONGEST_SECONDS + 1.0
