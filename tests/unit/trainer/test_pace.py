"""How busy and how fast."""

from __future__ import annotations

import pytest

from millstream_trainer.pace import Pace


def test_busy_share_and_rate_of_the_last_while() -> None:
    pace = Pace(1000.0)
    for tenth in range(200):
        pace.add(1000.0 + tenth / 10, 0.05, 20)
    assert pace.busy_ratio(1020.0) == pytest.approx(0.5, abs=0.05)
    assert pace.events_per_second(1020.0) == pytest.approx(200, rel=0.15)


def test_what_is_long_past_does_not_count() -> None:
    pace = Pace(1000.0)
    pace.add(1000.5, 0.9, 1000)
    assert pace.events_per_second(1030.0) == 0
    assert pace.busy_ratio(1100.0) == 0


def test_nothing_done_is_nothing() -> None:
    assert (Pace(5.0).busy_ratio(5.0), Pace(5.0).events_per_second(5.0)) == (0, 0)


def test_memory_is_bounded() -> None:
    pace = Pace(0.0)
    for second in range(10_000):
        pace.add(float(second), 0.1, 1)
    assert pace.busy_ratio(9999.5) == pytest.approx(0.1, abs=0.01)
    assert len(pace._bins) <= 62
