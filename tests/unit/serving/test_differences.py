"""Numbers that tell two versions' scores apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream_serving.ranking.differences import calibration, drift

LOGITS = np.random.default_rng(0).normal(-1, 1, 10_000)
NOTHING = np.empty(0)


def test_equal_scores_do_not_drift():
    assert drift(LOGITS, LOGITS) == 0
    assert calibration(LOGITS, LOGITS) == 1


def test_drift_is_the_stability_index_of_tenths():
    """By hand: of stable's tenths the candidate has none in the first and two in the last."""
    moved = np.sort(LOGITS)
    moved[:1000] = moved[-1]
    assert drift(moved, LOGITS) == pytest.approx(
        (0.00005 - 0.1) * np.log(0.00005 / 0.1) + (0.2 - 0.1) * np.log(0.2 / 0.1)
    )


def test_a_population_of_its_own_is_beyond_a_quarter():
    assert drift(LOGITS + 0.05, LOGITS) < 0.01
    assert drift(LOGITS + 1, LOGITS) > 0.25


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.floats(-50, 50))
def test_drift_is_never_below_zero(logits, other):
    old = np.array(logits)
    assert drift(np.full(len(old), other), old) >= -1e-12


def test_calibration_is_a_ratio_of_mean_probabilities():
    half, fifth = np.zeros(10), np.full(10, np.log(0.2 / 0.8))
    assert calibration(half, fifth) == pytest.approx(2.5)


def test_of_nothing_nothing_is_told():
    assert drift(NOTHING, NOTHING) is None
    assert calibration(NOTHING, NOTHING) is None
