"""What running programs say of themselves: a trainer's progress and a replica's report.

Both are answers to a GET; the operator reads them over the pod network and decides on nothing
that is older than one round. Counters only grow, and start anew with each rollout's salt, so
that candidate and stable are compared over the same time.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from millstream_api.manifest import Sha256, VersionRef, Watermark
from millstream_api.names import Precision
from millstream_api.wire import Wire


class StoreHealth(Wire):
    """Whether the model store answers, as the reporting program last found it."""

    ok: bool
    reason: str  # CamelCase: Reachable, Unreachable, AccessDenied, ConditionsNotHonoured …
    message: str = ""


class Progress(Wire):
    """A trainer's answer to GET /progress."""

    worker: str
    phase: Literal["Starting", "Restoring", "Training", "Draining"]
    step: int = 0
    events: int = 0  # learned since the beginning of the lineage
    rejected: dict[str, int] = Field(default_factory=dict)  # malformed events by reason
    events_per_second: float = 0.0
    lag_seconds: float = 0.0  # age of the oldest event that is due and not yet learned
    busy_ratio: float = 0.0  # share of the last minute spent computing
    auc: float | None = None  # progressive validation, sliding window
    log_loss: float | None = None
    conversion_auc: float | None = Field(default=None, exclude_if=lambda auc: auc is None)
    rows: dict[str, int] = Field(default_factory=dict)
    published: VersionRef | None = None  # newest version committed
    published_at: float | None = None
    published_watermark: Watermark | None = None
    store: StoreHealth


class VersionState(Wire):
    """How a replica stands with one version of its release."""

    ref: VersionRef
    state: Literal["Loading", "Ready", "Refused"]
    reason: str = (
        ""  # of a refusal: DigestMismatch, LineageBroken, TransformMismatch, NonFiniteRows …
    )
    message: str = ""
    # Of its scores; left out where they are float32.
    precision: Precision = Field(default="Float32", exclude_if=lambda named: named == "Float32")


class Counters(Wire):
    """What one version has answered on one replica since the rollout's salt came into force."""

    requests: int = 0
    errors: int = 0  # answers with a 5xx
    nonfinite: int = 0  # scores that were not finite and therefore not sent
    latency_ms_p50: float | None = None
    latency_ms_p99: float | None = None
    score_mean: float | None = None
    score_std: float | None = None


class Shadow(Wire):
    """Candidate against stable on the same requests, before a user sees the candidate."""

    candidate: Sha256
    stable: Sha256
    requests: int
    scores: int
    nonfinite: int
    # Mean over requests of the Pearson correlation of the two versions' logits over the same
    # items; None where no request had spread enough to say.
    correlation: float | None
    mean_shift: float  # difference of mean logits, in standard deviations of stable's
    # None: of an older server, or there is nothing to tell it from.
    drift: float | None = None  # population stability index of the scores
    calibration: float | None = None  # mean probability as a multiple of stable's
    default_ratio: float | None = None  # share of looked-up keys that have no row
    stable_default_ratio: float | None = None  # the same in stable
    # Over stable's golden events; None: it has too few, or they say nothing about the scores.
    golden_auc: float | None = None
    stable_golden_auc: float | None = None


class ReplicaReport(Wire):
    """A server's answer to GET /release."""

    replica: str
    epoch: int  # of the release in force
    salt: str = ""
    stable: VersionRef | None = None
    candidate: VersionRef | None = None
    advanced: int = 0
    versions: tuple[VersionState, ...] = ()
    counters: dict[Sha256, Counters] = Field(default_factory=dict)
    shadow: Shadow | None = None
    store: StoreHealth
    erasure_seq: int = 0  # of the ledger: no version held answers for keys erased up to it
