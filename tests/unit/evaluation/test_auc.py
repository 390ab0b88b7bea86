"""The area under the curve, against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_core.evaluation import area_under_curve


def pairs_won(scores: np.ndarray, labels: np.ndarray) -> float:
    """AUC by its definition, pair by pair."""
    clicks, others = scores[labels > 0], scores[labels == 0]
    won = (clicks[:, None] > others).sum() + 0.5 * (clicks[:, None] == others).sum()
    return float(won / (len(clicks) * len(others)))


@pytest.mark.parametrize("levels", [2, 5, 1_000_000], ids=["many ties", "some ties", "no ties"])
def test_auc_is_the_share_of_pairs_in_order(levels: int) -> None:
    random = np.random.default_rng(levels)
    scores = random.integers(0, levels, 300).astype(np.float32)
    labels = random.integers(0, 2, 300).astype(np.float32)
    assert area_under_curve(scores, labels) == pytest.approx(pairs_won(scores, labels))


def test_auc_needs_clicks_and_others() -> None:
    ones = np.ones(3, np.float32)
    assert area_under_curve(ones, ones) is None
    assert area_under_curve(ones, 0 * ones) is None
    assert area_under_curve(ones[:0], ones[:0]) is None
