"""How the scores of two versions differ, by their logits on the same queries; plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_serving.engine.best import probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Logits = NDArray[np.float64]

SMALLEST_SPREAD: Final = 1e-6  # of logits; below it all candidates are the same to a version
_PARTS: Final = 10  # that stable's scores are divided into, as many in each


def correlation(new: Logits, old: Logits) -> float | None:
    """Pearson's, of one query; None where stable itself sees no difference between the items."""
    if len(old) < 2 or old.std() < SMALLEST_SPREAD:
        return None
    if new.std() < SMALLEST_SPREAD:
        return 0.0  # the candidate has lost what stable knows
    return float(np.corrcoef(new, old)[0, 1])


def mean_shift(new: Logits, old: Logits) -> float:
    """Difference of the means, in standard deviations of stable's; 0 of nothing."""
    if not len(old):
        return 0.0
    return float((new.mean() - old.mean()) / max(float(old.std()), SMALLEST_SPREAD))


def drift(new: Logits, old: Logits) -> float | None:
    """The population stability index over tenths of stable's scores; None of nothing.

    The sum of (a - e) ln(a / e) over the parts, where e and a are the shares of stable's and of
    the candidate's scores in each: the Kullback-Leibler divergences of both directions added
    (Siddiqi, Credit Risk Scorecards, 2006, where more than 0.25 is a population of its own). A
    part that is empty counts as half a score.
    """
    if not len(old):
        return None
    bounds = np.quantile(old, np.arange(1, _PARTS) / _PARTS)
    expected, actual = (
        np.maximum(np.bincount(np.searchsorted(bounds, scores), minlength=_PARTS), 0.5) / len(old)
        for scores in (old, new)
    )
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def calibration(new: Logits, old: Logits) -> float | None:
    """Mean predicted probability as a multiple of stable's; None of nothing."""
    known = float(probabilities(old).sum())
    return float(probabilities(new).sum()) / known if known > 0 else None
