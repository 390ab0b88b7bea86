"""The demo's figures, on answers whose truth is plain."""

import numpy as np
import pytest

from demo.answers import Answer, Log, Question
from demo.measures import PublishedVersion, compare, delays
from demo.report import at_least, at_most


def make_log(*answers: tuple[float, int]) -> Log:
    """A log of (received, version)."""
    log = Log()
    for received, version in answers:
        log.add(Answer(Question("rank", 1), received - 0.01, received, 200, version=version))
    return log


def test_delay_runs_from_the_event_to_the_first_and_the_last_users() -> None:
    log = make_log((10, 1), (20, 2), (21, 1), (25, 1), (30, 2), (40, 2))
    found = delays(log, [PublishedVersion(2, first_event=15, last_event=15)], per_version=1)
    assert found.first_users.tolist() == [5]
    assert found.all_users.tolist() == [10]


def test_a_version_passed_over_counts_with_the_next_one() -> None:
    log = make_log((10, 1), (30, 3), (40, 3))
    found = delays(log, [PublishedVersion(2, 15, 15)], per_version=1)
    assert found.first_users.tolist() == [15]


def test_a_version_no_user_got_does_not_count() -> None:
    found = delays(make_log((10, 1), (20, 1)), [PublishedVersion(2, 15, 15)])
    assert len(found.first_users) == len(found.all_users) == 0


def test_all_users_is_not_reached_while_old_answers_still_come() -> None:
    log = make_log((10, 1), (20, 2), (29.5, 1), (30, 2))
    assert len(delays(log, [PublishedVersion(2, 15, 15)]).all_users) == 0


def test_what_a_rollback_brings_back_can_be_left_out() -> None:
    log = make_log((10, 1), (20, 2), (30, 2), (50, 1))
    found = delays(log.before(40), [PublishedVersion(2, 15, 15)], per_version=1)
    assert found.all_users.tolist() == [5]


def test_failures_are_answers_that_are_not_200() -> None:
    log = make_log((10, 1))
    log.add(Answer(Question("rank", 1), 11, 12, 503))
    log.add(Answer(Question("rank", 1), 11, 16, 0, complaint="time-out"))
    assert [answer.status for answer in log.failures] == [503, 0]


def test_a_model_that_knows_is_told_from_one_that_guesses() -> None:
    draw = np.random.default_rng(1)
    labels = (draw.random(2000) < 0.4).astype(np.float64)
    knows, guesses = labels + draw.normal(0, 1, 2000), draw.random(2000)
    found = compare(knows, guesses, labels)
    assert found is not None
    assert found.fresh - found.frozen > 2 * found.standard_error
    same = compare(guesses, guesses, labels)
    assert same is not None
    assert same.fresh - same.frozen <= 2 * same.standard_error


def test_without_both_labels_there_is_nothing_to_compare() -> None:
    assert compare(np.ones(3), np.ones(3), np.ones(3)) is None


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        pytest.param(at_most("x", 5.0, 5, "s"), True, id="at the bar"),
        pytest.param(at_most("x", 5.1, 5, "s"), False, id="above the bar"),
        pytest.param(at_most("x", None, 5, "s"), False, id="not measured"),
        pytest.param(at_least("x", 5.0, 5, "s"), True, id="enough"),
        pytest.param(at_least("x", 4.9, 5, "s"), False, id="too little"),
        pytest.param(at_least("x", None, 5, "s"), False, id="not measured either"),
    ],
)
def test_a_bar_that_was_not_measured_does_not_hold(row: object, holds: bool) -> None:
    assert row.holds is holds  # type: ignore[attr-defined]
