"""Histograms lose no value and put none in the wrong bin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream_core.census.bins import largest, log2_bins

FLOORS = st.integers(-12, 4).map(lambda exponent: 2.0**exponent)
VALUES = st.lists(
    st.floats(0, 1e12) | st.integers(0, 40).map(lambda exponent: 2.0**exponent), max_size=60
)


@given(values=VALUES, floor=FLOORS)
def test_every_value_is_in_the_one_bin_around_it(values: list[float], floor: float) -> None:
    bins = log2_bins(np.array(values, np.float64), floor)
    for each in bins:
        assert each.rows == sum(each.low <= value < each.high for value in values)
    assert sum(each.rows for each in bins) == len(values)


@given(values=VALUES.filter(bool), floor=FLOORS)
def test_bins_double_and_leave_no_gap(values: list[float], floor: float) -> None:
    bins = log2_bins(np.array(values, np.float64), floor)
    assert bins[0].rows > 0 < bins[-1].rows
    assert [each.low for each in bins[1:]] == [each.high for each in bins[:-1]]
    assert all(each.high == (2 * each.low or floor) for each in bins)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        pytest.param(0.0, 0.0, 1.0, id="nothing at all is below the floor"),
        pytest.param(np.nextafter(1.0, 0.0), 0.0, 1.0, id="next to the floor is below it"),
        pytest.param(1.0, 1.0, 2.0, id="the floor begins a bin"),
        pytest.param(np.nextafter(8.0, 0.0), 4.0, 8.0, id="next to an edge is below it"),
        pytest.param(8.0, 8.0, 16.0, id="an edge begins a bin"),
    ],
)
def test_an_edge_belongs_to_the_bin_above(value: float, low: float, high: float) -> None:
    [found] = log2_bins(np.array([value]), 1.0)
    assert (found.low, found.high, found.rows) == (low, high, 1)


def test_without_values_there_are_no_bins() -> None:
    assert log2_bins(np.empty(0), 1.0) == ()


@given(values=st.lists(st.integers(0, 9), max_size=40), count=st.integers(0, 50))
def test_the_largest_come_first_and_ties_in_order(values: list[int], count: int) -> None:
    places = largest(np.array(values, np.float64), count).tolist()
    assert places == sorted(range(len(values)), key=lambda place: -values[place])[:count]
