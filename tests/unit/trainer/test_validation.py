"""Progressive validation: AUC and log-loss over a sliding window."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_trainer.validation import SlidingValidation, log_loss


def test_log_loss_is_cross_entropy_also_far_out() -> None:
    logits, labels = np.array([0.0, 2.0, -2.0]), np.array([1.0, 1.0, 0.0])
    chances = 1 / (1 + np.exp(-logits))
    expected = -np.mean(labels * np.log(chances) + (1 - labels) * np.log(1 - chances))
    assert log_loss(logits, labels) == pytest.approx(expected)
    assert log_loss(np.array([1000.0]), np.array([0.0])) == pytest.approx(1000.0)
    assert log_loss(np.array([]), np.array([])) is None


def test_only_the_window_counts() -> None:
    validation = SlidingValidation(4)
    wrong = np.array([1, -1], np.float32), np.array([0, 1], np.float32)
    right = np.array([1, -1], np.float32), np.array([1, 0], np.float32)
    validation.add(*wrong)
    assert validation.measure().events == 2
    assert validation.measure().auc == 0.0
    for _ in range(2):
        validation.add(*right)
    assert validation.measure().events == 4
    assert validation.measure().auc == 1.0


def test_a_batch_larger_than_the_window_leaves_its_end() -> None:
    validation = SlidingValidation(3)
    validation.add(np.arange(10, dtype=np.float32), np.array([1] * 7 + [0, 0, 1], np.float32))
    assert validation.measure().events == 3
    assert validation.measure().auc == 1.0


def test_conversions_have_an_auc_of_their_own_and_leave_that_of_clicks_alone() -> None:
    validation = SlidingValidation(4)
    clicks, conversions = np.array([1, 1, 0], np.float32), np.array([0, 1, 0], np.float32)
    validation.add(np.array([2, 1, 0], np.float32), clicks)
    assert validation.measure().conversion_auc is None
    for _ in range(2):
        validation.add_conversions(np.array([2, 1, 0], np.float32), conversions)
    measured = validation.measure()
    assert (measured.auc, measured.events) == (1.0, 3)
    assert measured.conversion_auc == pytest.approx(2 / 3), "of the last four"
    validation.add_conversions(np.zeros(4, np.float32), np.zeros(4, np.float32))
    assert validation.measure().conversion_auc is None, "nobody converts any more"


def test_nothing_yet_is_not_a_number_made_up() -> None:
    measured = SlidingValidation(10).measure()
    assert (measured.events, measured.auc, measured.log_loss) == (0, None, None)
