"""Numbers that move, said without ticking."""

from __future__ import annotations

import pytest

from millstream_operator.decide.bands import lag_band, utilization_band


@pytest.mark.parametrize(
    ("seconds", "band"),
    [
        (None, "-"),
        (0.0, "<1s"),
        (0.99, "<1s"),
        (1.0, "<5s"),
        (59.0, "<1m"),
        (3600.0, "<2h"),
        (1e9, ">1d"),
    ],
)
def test_lags(seconds: float | None, band: str):
    assert lag_band(seconds, "") == band


def test_a_lag_on_a_border_stays_where_it_was():
    said = "<5s"
    for seconds in (4.9, 5.1, 4.8, 5.5, 0.95, 5.9):
        said = lag_band(seconds, said)
        assert said == "<5s"
    assert lag_band(6.1, said) == "<15s"
    assert lag_band(0.5, said) == "<1s"


@pytest.mark.parametrize(
    ("ratio", "band"),
    [(None, "-"), (0.0, "0%"), (0.44, "40%"), (0.46, "50%"), (1.0, "100%"), (1.7, "100%")],
)
def test_utilization(ratio: float | None, band: str):
    assert utilization_band(ratio, "") == band


def test_utilization_on_a_border_stays_where_it_was():
    said = "40%"
    for ratio in (0.46, 0.34, 0.47, 0.33):
        said = utilization_band(ratio, said)
        assert said == "40%"
    assert utilization_band(0.49, said) == "50%"
    assert utilization_band(0.31, said) == "30%"
