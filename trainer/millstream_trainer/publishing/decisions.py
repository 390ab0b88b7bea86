"""When a version is published, and of which kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from millstream_api.settings import TrainerSettings

# What a first version has learned at least. Rollouts compare each version with the one before it,
# and scores of a model that has hardly begun compare with nothing. A slow stream is waited for
# only so many intervals, in event time: a restart must not begin to wait anew.
FIRST_EVENTS: Final = 5_000
FIRST_INTERVALS: Final = 10

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """What the decision looks at of the training."""

    events: int  # learned since the beginning of the lineage
    event_seconds: float  # between the first and the last event learned since the last version
    knows_store: bool  # the store has told what the lineage holds
    is_publishing: bool  # a version is on its way
    is_draining: bool  # this process is about to end
    retry_at: float = 0.0  # after a failure: not before this Unix second


@dataclass(frozen=True, kw_only=True)
class LastVersion:
    """What the decision looks at of the version that the live state descends from."""

    events: int  # that it had learned
    taken_at: float  # Unix seconds of its snapshot
    chain_length: int  # deltas since the base, 0 for a base
    chain_share: float = 0.0  # what they weigh for servers, of the base's bytes


@dataclass(frozen=True)
class PublishDecision:
    """Publish this now, or nothing; always with the reason."""

    kind: Literal["base", "delta"] | None
    reason: str


def decide_publish(
    progress: TrainingProgress, last: LastVersion | None, now: float, settings: TrainerSettings
) -> PublishDecision:
    """Whether a version is due at this step barrier.

    Args:
        progress: of the training.
        last: the newest committed version below the live state; None before the first.
        now: Unix seconds.
        settings: intervals.
    """
    if not progress.knows_store:
        return PublishDecision(None, "StoreNotMet")
    if progress.is_publishing:
        return PublishDecision(None, "InFlight")
    if progress.events == (last.events if last else 0):
        return PublishDecision(None, "NothingLearned")
    if now < progress.retry_at and not progress.is_draining:
        return PublishDecision(None, "WaitsToRetry")
    if last is None:
        patience = FIRST_INTERVALS * settings.publish_interval_seconds
        if progress.events < FIRST_EVENTS and progress.event_seconds < patience:
            return PublishDecision(None, "TooLittleLearned")
        return PublishDecision("base", "FirstVersion")
    reason = _reason_to_publish(progress, last, now, settings)
    if reason is None:
        return PublishDecision(None, "TooSoon")
    if last.chain_length + 1 >= settings.base_every or last.chain_share > settings.base_share:
        return PublishDecision("base", reason)
    return PublishDecision("delta", reason)


def _reason_to_publish(
    progress: TrainingProgress, last: LastVersion, now: float, settings: TrainerSettings
) -> str | None:
    if now >= last.taken_at + settings.publish_interval_seconds:
        return "IntervalPassed"
    if settings.publish_events and progress.events >= last.events + settings.publish_events:
        return "EventsLearned"
    return "Draining" if progress.is_draining else None


def retry_delay(failures: int) -> float:
    """Seconds to wait after so many failures in a row, doubling up to a bound."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LONGEST_RETRY_SECONDS)
