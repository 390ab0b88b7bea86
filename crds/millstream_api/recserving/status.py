"""`status` of a RecServing: what the operator found and decided.

It holds the release (which versions replicas hold, which one each batch of users gets) and
everything that a rollout needs to go on after the operator was killed. It changes only when one of
these does: nothing in it ticks.
"""

from typing import Annotated, Literal

from pydantic import Field

from millstream_api.conditions import Condition
from millstream_api.manifest import Sha256
from millstream_api.release import Release
from millstream_api.resources import PreciseTime, StatusPart, Time

Lane = Literal["Delta", "Base"]
Phase = Literal["Pending", "Loading", "Steady", "Shadow", "Gray", "Pinned"]

HISTORY_LIMIT = 10  # promoted versions remembered, beyond those kept warm
QUARANTINE_LIMIT = 50
SUPERSEDED_LIMIT = 10


class PromotedVersion(StatusPart):
    """A version that has been stable."""

    lineage: str
    """Line of descent it belongs to."""

    version: int
    """Its number."""

    digest: Sha256
    """SHA-256 of its manifest."""

    promoted_at: Time
    """When it became stable."""

    watermark: Time | None = None
    """Time of the newest event it has learned."""


class QuarantinedVersion(StatusPart):
    """A version that was taken back and is not tried again, nor is what descends from it."""

    version: int
    """Its number."""

    digest: Sha256
    """SHA-256 of its manifest."""

    reason: str
    """Why, as one word."""

    message: Annotated[str, Field(max_length=1024)] = ""
    """Why, as a sentence."""

    at: Time
    """When."""


class SupersededVersion(StatusPart):
    """A version that was passed over because a newer one was there."""

    version: int
    """Its number."""

    digest: Sha256
    """SHA-256 of its manifest."""

    at: Time
    """When."""


class RolloutStatus(StatusPart):
    """A rollout under way."""

    lane: Lane
    """Which part of spec.rollout it follows."""

    started_at: PreciseTime
    """When the candidate became candidate."""

    advanced_at: PreciseTime
    """When a batch was last added (or the candidate became candidate)."""

    waiting_for: str = ""
    """Reason why no batch is added though one is due."""

    waiting_since: PreciseTime
    """Since when that is the reason."""

    restarts: int = 0
    """Restarts of the replicas' containers when it began."""

    watermark: Time | None = None
    """Time of the newest event that the candidate has learned."""


class RecServingStatus(StatusPart):
    """What the operator found and decided; written by nobody else."""

    observed_generation: int = 0
    """The metadata.generation that this status is about."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """What holds and what does not."""

    phase: Phase = "Pending"
    """Where the rollout is, as `kubectl get` prints it."""

    release: Release | None = None
    """Which versions replicas hold, and which one each batch of users gets."""

    rollout: RolloutStatus | None = None
    """The rollout under way."""

    stable_version: int | None = None
    """The version that all users get, but for the batches of the candidate."""

    candidate_version: int | None = None
    """The version that is being brought to users."""

    pending_version: int | None = None
    """The newest version waiting for the rollout to end."""

    batch: str = "-"
    """Batches that get the candidate, of all, as `kubectl get` prints them."""

    watermark: Time | None = None
    """Time of the newest event that stable has learned."""

    history: tuple[PromotedVersion, ...] = Field(default=(), max_length=HISTORY_LIMIT)
    """Versions that have been stable, newest first, the present one among them."""

    quarantined: tuple[QuarantinedVersion, ...] = Field(default=(), max_length=QUARANTINE_LIMIT)
    """Versions that are not tried again, newest first."""

    superseded: tuple[SupersededVersion, ...] = Field(default=(), max_length=SUPERSEDED_LIMIT)
    """Versions passed over, newest first."""

    announced: str = ""
    """Digest of what the channel `stable` in the store was last told."""

    replicas: int = 0
    """Servers there are."""

    ready_replicas: int = 0
    """Servers that serve."""

    selector: str = ""
    """Label selector of the servers' pods, for /scale."""

    servers: str = ""
    """Servers that serve and servers asked for, as `kubectl get` prints them."""
