"""The area under the ROC curve, as the trainer reports it and as servers compare versions by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def area_under_curve(scores: NDArray[np.floating], labels: NDArray[np.number]) -> float | None:
    """How likely a click outranks a non-click, ties counting half; None without both.

    The Mann-Whitney statistic (Hanley and McNeil, Radiology, 1982).
    """
    _, place, ties = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[place]
    is_click = labels > 0
    clicks = int(np.count_nonzero(is_click))
    others = len(labels) - clicks
    if not clicks or not others:
        return None
    return float((ranks[is_click].sum() - clicks * (clicks + 1) / 2) / (clicks * others))
