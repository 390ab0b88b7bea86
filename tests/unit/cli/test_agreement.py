"""How far answers agree with those that were logged."""

from __future__ import annotations

import pytest

from millstream_cli.replay.agreement import Answer, agreement, summaries

LOGGED = Answer(1, (10, "x", 30), (0.9, 0.5, 0.1))


@pytest.mark.parametrize(
    ("again", "overlap", "same_first", "differences"),
    [
        pytest.param(LOGGED, 1.0, True, (0, 0, 0), id="the same answer"),
        pytest.param(
            Answer(2, ("x", 10, 30), (0.9, 0.8, 0.1)),
            1.0,
            False,
            (0.1, 0.4, 0.0),
            id="the same items in another order",
        ),
        pytest.param(
            Answer(2, (10, 40, 50), (0.7, 0.5, 0.1)), 1 / 3, True, (0.2,), id="other items"
        ),
        pytest.param(Answer(2, (1, 2, 3), (3, 2, 1)), 0.0, False, (), id="nothing in common"),
        pytest.param(Answer(2, (), ()), 0.0, False, (), id="no items at all"),
    ],
)
def test_answers_are_compared_by_items_and_by_the_scores_of_those_in_both(
    again, overlap, same_first, differences
):
    found = agreement(LOGGED, again)
    assert found.overlap == overlap
    assert found.same_first == same_first
    assert found.differences == pytest.approx(differences)


def test_summaries_are_of_pairs_of_versions():
    shifted = Answer(2, (10, "x", 30), (0.8, 0.4, 0.4))
    found = [agreement(LOGGED, each) for each in (shifted, LOGGED, shifted, Answer(2, (), ()))]
    same, other = summaries(found)
    assert same == {
        "logged": 1,
        "answered": 1,
        "requests": 1,
        "overlap": 1.0,
        "sameFirst": 1.0,
        "meanDifference": 0.0,
        "largestDifference": 0.0,
    }
    assert (other["answered"], other["requests"]) == (2, 3)
    assert other["overlap"] == pytest.approx(2 / 3)
    assert other["meanDifference"] == pytest.approx(0.5 / 3)
    assert other["largestDifference"] == pytest.approx(0.3)


def test_where_nothing_is_in_common_there_is_no_difference_to_tell():
    [row] = summaries([agreement(LOGGED, Answer(2, (1,), (0.5,)))])
    assert (row["meanDifference"], row["largestDifference"]) == (None, None)
