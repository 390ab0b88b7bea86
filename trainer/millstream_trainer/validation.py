"""Progressive validation: every event is scored before it is learned from.

The scores of the last `window` events give AUC and log-loss of exactly what a server with this
state would have answered (Blum, Kalai, Langford: Beating the hold-out, COLT 1999). Adding is
cheap and done every step; measuring sorts the window and is done when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_api.manifest import Validation
from millstream_core.evaluation import area_under_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SlidingValidation:
    """Logits and labels of the last events."""

    def __init__(self, window: int) -> None:
        """Start empty.

        Args:
            window: events that count.
        """
        self._logits = np.zeros(window, np.float32)
        self._labels = np.zeros(window, np.float32)
        self._added = 0

    def add(self, logits: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        """Take in a batch, float32[n] each."""
        logits, labels = logits[-len(self._logits) :], labels[-len(self._logits) :]
        places = (self._added + np.arange(len(logits))) % len(self._logits)
        self._logits[places] = logits
        self._labels[places] = labels
        self._added += len(logits)

    def measure(self) -> Validation:
        """AUC and log-loss over the window; None where they are not defined."""
        events = min(self._added, len(self._logits))
        logits, labels = self._logits[:events], self._labels[:events]
        return Validation(
            events=events,
            auc=area_under_curve(logits, labels),
            log_loss=log_loss(logits, labels),
        )


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> float | None:
    """Mean binary cross-entropy in nats; None of nothing."""
    if not len(logits):
        return None
    wide = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0, wide) - labels * wide))
