"""Progressive validation: every event is scored before it is learned from.

The scores of the last `window` events give AUC and log-loss of exactly what a server with this
state would have answered (Blum, Kalai, Langford: Beating the hold-out, COLT 1999). Of models that
learn conversions these are of the chance of a click, and what is served has an AUC of its own,
against conversions. Adding is cheap and done every step; measuring sorts the window and is done
when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_api.manifest import Validation
from millstream_core.evaluation import area_under_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SlidingValidation:
    """What was said of the last events, and what became of them."""

    def __init__(self, window: int) -> None:
        """Start empty.

        Args:
            window: events that count.
        """
        self._clicks = _Window(window)
        self._conversions = _Window(window)  # stays empty for models of clicks alone

    def add(self, logits: NDArray[np.float32], clicks: NDArray[np.float32]) -> None:
        """Take in a batch, float32[n] each."""
        self._clicks.add(logits, clicks)

    def add_conversions(
        self, logits: NDArray[np.float32], conversions: NDArray[np.float32]
    ) -> None:
        """Take in what was served of the same batch, float32[n] each."""
        self._conversions.add(logits, conversions)

    def measure(self) -> Validation:
        """AUC and log-loss over the window; None where they are not defined."""
        logits, clicks = self._clicks.kept()
        return Validation(
            events=len(logits),
            auc=area_under_curve(logits, clicks),
            log_loss=log_loss(logits, clicks),
            conversion_auc=area_under_curve(*self._conversions.kept()),
        )


class _Window:
    """Logits and labels of the last events."""

    def __init__(self, events: int) -> None:
        self._logits = np.zeros(events, np.float32)
        self._labels = np.zeros(events, np.float32)
        self._added = 0

    def add(self, logits: NDArray[np.float32], labels: NDArray[np.float32]) -> None:
        logits, labels = logits[-len(self._logits) :], labels[-len(self._logits) :]
        places = (self._added + np.arange(len(logits))) % len(self._logits)
        self._logits[places] = logits
        self._labels[places] = labels
        self._added += len(logits)

    def kept(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits and labels, in no order."""
        events = min(self._added, len(self._logits))
        return self._logits[:events], self._labels[:events]


def log_loss(logits: NDArray[np.floating], labels: NDArray[np.floating]) -> float | None:
    """Mean binary cross-entropy in nats; None of nothing."""
    if not len(logits):
        return None
    wide = logits.astype(np.float64)
    return float(np.mean(np.logaddexp(0, wide) - labels * wide))
