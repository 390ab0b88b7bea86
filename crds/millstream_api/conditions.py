"""Conditions: the state of an object, told in the words that Kubernetes tools understand.

`Ready` is true when all is as asked; `Reconciling` and `Stalled` are present only while they are
true (kstatus), so that `kubectl wait`, Helm and Argo CD read our objects without help. Other
types say one thing each. A reason is one CamelCase word with one meaning (`Reason`); a message
is a sentence. A transition time moves only when the status does.
"""

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from millstream_api.resources import StatusPart, Time

ConditionStatus = Literal["True", "False", "Unknown"]

MESSAGE_LIMIT: Final = 1024


class Condition(StatusPart):
    """One condition as the API server keeps it."""

    type: Annotated[str, Field(max_length=64)]
    """What is said to hold, in CamelCase."""

    status: ConditionStatus
    """Whether it holds."""

    reason: Annotated[str, Field(min_length=1, max_length=64)]
    """Why, as one CamelCase word."""

    message: Annotated[str, Field(max_length=MESSAGE_LIMIT)] = ""
    """Why, as a sentence."""

    observed_generation: int
    """The metadata.generation that this was found for."""

    last_transition_time: Time
    """When status last changed."""


class Claim(StatusPart):
    """A condition as it is decided, before it is compared with what the object says."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


def holds(kind: str, reason: str, message: str = "") -> Claim:
    """A claim that `kind` holds."""
    return Claim(type=kind, status="True", reason=reason, message=message)


def fails(kind: str, reason: str, message: str = "") -> Claim:
    """A claim that `kind` does not hold."""
    return Claim(type=kind, status="False", reason=reason, message=message)


def unclear(kind: str, reason: str, message: str = "") -> Claim:
    """A claim that nobody can tell whether `kind` holds."""
    return Claim(type=kind, status="Unknown", reason=reason, message=message)


def claim(kind: str, *, known: bool | None, reason: str, message: str = "") -> Claim:
    """A claim that `kind` holds, does not, or is not known (None)."""
    say = unclear if known is None else (holds if known else fails)
    return say(kind, reason, message)


def merge(
    known: Iterable[Condition], claims: Iterable[Claim], *, generation: int, now: AwareDatetime
) -> tuple[Condition, ...]:
    """The conditions after one pass: exactly the claimed ones, in their order.

    Args:
        known: what the object says now; types that are not claimed are dropped.
        claims: what was found, at most one of each type.
        generation: the metadata.generation that was looked at.
        now: becomes the transition time of what is new or has another status.
    """
    before = {condition.type: condition for condition in known}
    merged: dict[str, Condition] = {}
    for found in claims:
        assert found.type not in merged, f"two claims of {found.type}"
        old = before.get(found.type)
        since = old.last_transition_time if old and old.status == found.status else now
        merged[found.type] = Condition(
            type=found.type,
            status=found.status,
            reason=found.reason,
            message=found.message[:MESSAGE_LIMIT],
            observed_generation=generation,
            last_transition_time=since,
        )
    return tuple(merged.values())


class Type:
    """The condition types in use; both kinds share the words."""

    READY: Final = "Ready"
    RECONCILING: Final = "Reconciling"
    STALLED: Final = "Stalled"
    AVAILABLE: Final = "Available"
    PAUSED: Final = "Paused"
    STORE_REACHABLE: Final = "StoreReachable"
    # RecTraining
    CHECKPOINT_HEALTHY: Final = "CheckpointHealthy"
    SCALING_ACTIVE: Final = "ScalingActive"
    SUSPENDED: Final = "Suspended"
    # RecServing
    PROGRESSING: Final = "Progressing"
    VERSION_LOADED: Final = "VersionLoaded"
    ANALYSIS_HEALTHY: Final = "AnalysisHealthy"
    ROLLED_BACK: Final = "RolledBack"


class Reason:
    """The reasons in use, each with its one meaning."""

    AS_ASKED: Final = "AsAsked"  # everything is as the spec asks
    APPLYING: Final = "Applying"  # children are being brought to what the spec asks
    INVALID_SPEC: Final = "InvalidSpec"  # the object was stored before a rule that it breaks
    CHILD_CONFLICT: Final = "ChildConflict"  # a child's name is taken by somebody else's object
    FAILED_CREATE: Final = "FailedCreate"  # the API server refuses a child, or its pods
    INTERNAL_ERROR: Final = "InternalError"  # a mistake of ours; see the operator's log
    PAUSED_BY_ANNOTATION: Final = "PausedByAnnotation"  # millstream.dev/pause is "true"
    SECRET_MISSING: Final = "SecretMissing"  # noqa: S105 - the Secret does not exist
    SECRET_INCOMPLETE: Final = "SecretIncomplete"  # noqa: S105 - the Secret lacks a key

    REACHABLE: Final = "Reachable"  # the store answers
    UNREACHABLE: Final = "Unreachable"  # the store does not answer in time
    ACCESS_DENIED: Final = "AccessDenied"  # the store refuses the credentials
    UNREADABLE: Final = "Unreadable"  # the store answers, with documents that do not fit
    NOT_CHECKED: Final = "NotChecked"  # nobody has looked yet

    SUSPENDED: Final = "Suspended"  # spec.suspend is true
    NOT_SUSPENDED: Final = "NotSuspended"  # spec.suspend is false
    WORKERS_READY: Final = "WorkersReady"  # all workers train
    WAITING_FOR_WORKERS: Final = "WaitingForWorkers"  # fewer workers train than asked
    WORKER_FAILING: Final = "WorkerFailing"  # a worker's container does not stay up
    CHECKPOINT_COMMITTED: Final = "CheckpointCommitted"  # versions are being published
    WAITING_FOR_VERSION: Final = "WaitingForVersion"  # no version has been published yet
    ONE_WORKER_ONLY: Final = "OneWorkerOnly"  # this version trains with minReplicas workers

    REPLICAS_READY: Final = "ReplicasReady"  # all replicas serve
    WAITING_FOR_REPLICAS: Final = "WaitingForReplicas"  # named replicas are not there yet
    NEW_VERSION_DETECTED: Final = "NewVersionDetected"  # a rollout begins
    SHADOWING: Final = "Shadowing"  # the candidate answers recorded requests, no user
    BATCH_ADVANCED: Final = "BatchAdvanced"  # one more batch of users gets the candidate
    VERSION_PROMOTED: Final = "VersionPromoted"  # the candidate has become stable
    REPLICAS_FAILING: Final = "ReplicasFailing"  # servers keep failing since they got the candidate
    TAKEN_BACK: Final = "TakenBack"  # a person went back to another version
    VERSION_REFUSED: Final = "VersionRefused"  # a replica refuses the candidate
    LOADING: Final = "Loading"  # replicas are fetching a version
    ANALYSIS_PASSED: Final = "AnalysisPassed"  # the candidate is as good as stable
    ANALYSIS_INCONCLUSIVE: Final = "AnalysisInconclusive"  # too little data for a verdict
    NONFINITE_SCORES: Final = "NonFiniteScores"  # the candidate computes scores that are no numbers
    ERROR_RATIO_EXCEEDED: Final = "ErrorRatioExceeded"  # more of its requests fail than allowed
    SCORE_SHIFT_EXCEEDED: Final = "ScoreShiftExceeded"  # its scores lie elsewhere than stable's
    SCORE_CORRELATION_LOW: Final = "ScoreCorrelationLow"  # it ranks unlike stable
    DEFAULT_RATIO_EXCEEDED: Final = "DefaultRatioExceeded"  # it lacks rows of keys that are asked
    GOLDEN_AUC_DROPPED: Final = "GoldenAUCDropped"  # it ranks what stable learned last much worse
    DIFFERS_AGAIN: Final = "DiffersAgain"  # it is unlike stable, as the last ones taken back were
    LATENCY_RATIO_EXCEEDED: Final = "LatencyRatioExceeded"  # its slow answers are much slower
    NO_ANALYSIS: Final = "NoAnalysis"  # there is no candidate to judge
    PROGRESS_DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"  # a rollout does not advance
    LINEAGE_BLOCKED: Final = "LineageBlocked"  # the newest version stands on a quarantined one
    ROLLBACK_COMPLETED: Final = "RollbackCompleted"  # no user gets the rolled back version
    ROLLBACK_IN_PROGRESS: Final = "RollbackInProgress"  # replicas have not all taken it back
    NO_ROLLBACK: Final = "NoRollback"  # nothing was rolled back since the last promotion
    PINNED: Final = "Pinned"  # a person chose the version
    UNKNOWN_VERSION: Final = "UnknownVersion"  # the version asked for is not known
    QUARANTINED_VERSION: Final = "QuarantinedVersion"  # the version asked for is quarantined
    STORE_UNREACHABLE: Final = "StoreUnreachable"  # replicas wait for the store
