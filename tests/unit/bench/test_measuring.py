"""The arithmetic behind every row of a report."""

from __future__ import annotations

import pytest

from bench.measuring import (
    Turns,
    beside,
    fraction_of,
    in_turns,
    median_at_least,
    median_at_most,
    times_faster,
)

TURNS = Turns(ours=[1.0, 2.0, 4.0], theirs=[6.0, 10.0, 16.0])  # 6, 5 and 4 times longer


def test_sides_take_turns_and_each_round_gives_one_ratio():
    said, seconds = [], iter([1.0, 6.0, 2.0, 10.0])

    def side(name):
        said.append(name)
        return next(seconds)

    turns = in_turns(lambda: side("ours"), lambda: side("theirs"), runs=2)
    assert said == ["ours", "theirs", "ours", "theirs"]
    assert turns.ratios == [6.0, 5.0]


@pytest.mark.parametrize(("bar", "holds"), [(5, True), (5.1, False)])
def test_a_median_ratio_is_held_against_the_bar_and_shown_with_its_spread(bar, holds):
    row = times_faster("requests", TURNS, bar, "peer", 123.0, "/s")
    assert (row.value, row.ratio, row.holds, row.runs) == (123.0, 5.0, holds, 3)
    assert row.bar == f"≥ {bar} × peer (4-6 here)"


def test_a_peer_without_a_bar_has_no_verdict_but_a_spread():
    row = times_faster("requests", TURNS, None, "peer", 123.0, "/s")
    assert (row.ratio, row.holds, row.bar) == (5.0, None, "(4-6 here)")


@pytest.mark.parametrize(("bar", "holds"), [(5, True), (5.1, False)])
def test_a_fraction_of_the_other_sides_time_is_told_in_milliseconds_of_ours(bar, holds):
    row = fraction_of("p99", TURNS, bar, "peer")
    assert (row.value, row.unit, row.ratio, row.holds, row.runs) == (2000.0, "ms", 5.0, holds, 3)
    assert row.bar == f"≤ 1/{bar} of peer (1/5.0; 1/4-6 here)"


def test_what_stands_beside_a_peer_is_told_in_its_own_unit():
    row = beside("processor time", TURNS, "peer", 1e6, "µs")
    assert (row.value, row.ratio, row.holds, row.runs) == (2e6, 5.0, None, 3)


@pytest.mark.parametrize(
    ("row_of", "bar", "holds"),
    [
        pytest.param(median_at_most, 3, True, id="as large as it may be"),
        pytest.param(median_at_most, 2.9, False, id="too large, though two runs of five are not"),
        pytest.param(median_at_least, 3, True, id="as small as it may be"),
        pytest.param(median_at_least, 3.1, False, id="too small, though two runs of five are not"),
    ],
)
def test_a_median_of_runs_is_held_against_a_bar(row_of, bar, holds):
    row = row_of("wait", [1.0, 9.0, 3.0, 2.0, 8.0], bar, "ms")
    assert (row.value, row.holds, row.runs) == (3.0, holds, 5)
    assert "(1-9 here)" in row.bar
