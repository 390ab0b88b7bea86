"""From answers and manifests to figures: freshness as users saw it, and what staleness costs.

Pure functions; the story feeds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_core.evaluation import area_under_curve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from demo.answers import Log

RESAMPLES: Final = 400


@dataclass(frozen=True)
class PublishedVersion:
    """What a manifest says of the events that came with a version."""

    version: int
    first_event: float  # Unix seconds
    last_event: float


@dataclass(frozen=True)
class Delays:
    """Seconds from an event until users were answered by a version that had learned it."""

    first_users: NDArray[np.float64]
    all_users: NDArray[np.float64]


def delays(log: Log, versions: Sequence[PublishedVersion], per_version: int = 100) -> Delays:
    """Delays of events spread evenly over each version's time span.

    A version that was passed over counts with the next newer one that users got; one that no
    user has got yet does not count. "All users" is when the last answer by an older version came.

    Args:
        log: every answer of the run.
        versions: that the trainer published while it trained undisturbed.
        per_version: events taken of each.
    """
    first: list[NDArray[np.float64]] = []
    every: list[NDArray[np.float64]] = []
    for version in versions:
        events = np.linspace(version.first_event, version.last_event, per_version)
        reached = log.first_at_least(version.version)
        last_stale = log.last_older_than(version.version)
        if reached is None:
            continue
        first.append(reached - events)
        newest_answer = log.answers[-1].received
        # Stale answers up to the end: not everybody has it yet.
        if last_stale is not None and last_stale < newest_answer - 1.0:
            every.append(max(last_stale, reached) - events)
    return Delays(_joined(first), _joined(every))


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.concatenate(parts) if parts else np.empty(0)


@dataclass(frozen=True)
class Comparison:
    """AUC of two models on the same events, and how sure the difference is."""

    fresh: float
    frozen: float
    standard_error: float  # of the difference, by paired bootstrap
    events: int


def compare(
    fresh: NDArray[np.float64], frozen: NDArray[np.float64], labels: NDArray[np.float64]
) -> Comparison | None:
    """AUC of the fresh and the frozen model, float64[n] scores each, on the same n events.

    The standard error resamples events with replacement (Efron, Tibshirani: An Introduction to
    the Bootstrap, 1993, chapter 6). None where the events do not hold both labels.
    """
    fresh_auc, frozen_auc = area_under_curve(fresh, labels), area_under_curve(frozen, labels)
    if fresh_auc is None or frozen_auc is None:
        return None
    draw = np.random.default_rng(0)
    differences: list[float] = []
    for _ in range(RESAMPLES):
        chosen = draw.integers(0, len(labels), len(labels))
        one = area_under_curve(fresh[chosen], labels[chosen])
        other = area_under_curve(frozen[chosen], labels[chosen])
        if one is not None and other is not None:
            differences.append(one - other)
    return Comparison(fresh_auc, frozen_auc, float(np.std(differences)), len(labels))
