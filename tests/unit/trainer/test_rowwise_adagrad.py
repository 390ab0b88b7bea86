"""Row-wise Adagrad against its formula."""

from __future__ import annotations

import numpy as np

from millstream_trainer.models.rowwise_adagrad import update_rows


def test_steps_follow_the_formula() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(6, 4)).astype(np.float32)
    accumulators = random.random((6, 1)).astype(np.float32)
    slots = np.array([4, 0, 3], np.int32)
    gradients = random.normal(size=(3, 4)).astype(np.float32)
    expected_rows, expected = rows.astype(np.float64), accumulators.astype(np.float64)
    expected[slots] += (gradients.astype(np.float64) ** 2).mean(axis=1, keepdims=True)
    expected_rows[slots] -= 0.1 * gradients / (np.sqrt(expected[slots]) + 1e-8)
    update_rows(rows, accumulators, slots, gradients, np.float32(0.1))
    np.testing.assert_allclose(rows, expected_rows, rtol=1e-5)
    np.testing.assert_allclose(accumulators, expected, rtol=1e-5)


def test_no_gradient_no_change() -> None:
    """A fresh row has an accumulator of zero; zero over zero must not make it NaN."""
    rows, accumulators = np.ones((1, 4), np.float32), np.zeros((1, 1), np.float32)
    update_rows(
        rows, accumulators, np.zeros(1, np.int32), np.zeros((1, 4), np.float32), np.float32(1)
    )
    assert rows.tolist() == [[1, 1, 1, 1]]


def test_negative_slots_are_passed_over() -> None:
    rows, accumulators = np.ones((2, 4), np.float32), np.zeros((2, 1), np.float32)
    update_rows(
        rows, accumulators, np.array([-1], np.int32), np.ones((1, 4), np.float32), np.float32(1)
    )
    assert rows.tolist() == np.ones((2, 4)).tolist()
    assert accumulators.tolist() == [[0], [0]]
