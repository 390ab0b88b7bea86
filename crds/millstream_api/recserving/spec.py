"""`spec` of a RecServing: which model is served, and how its versions come to users.

It is what a person writes; operators and servers only read it. Bounds and defaults stand here and
nowhere else: the definition that the API server holds a spec to is generated from this file.
"""

from typing import Annotated, Literal

from pydantic import Field

from millstream_api.names import MOST_BUDGET_MILLIS, Precision
from millstream_api.resources import (
    MODEL_NAME_RULE,
    Image,
    NodeSelector,
    Part,
    Resources,
    StoreSpec,
    Tolerations,
    TracingSpec,
    rule,
    rules,
)


class ServedModel(Part):
    """The model that is served."""

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=63,
            json_schema_extra=rules(
                MODEL_NAME_RULE,
                rule(
                    "self == oldSelf",
                    "a RecServing keeps its model, whose versions its servers hold; create another"
                    " RecServing for another model",
                ),
            ),
        ),
    ]
    """Name of the model in the store: what spec.model.name of the RecTraining says, or its name."""


class VersionPolicy(Part):
    """Which version is served."""

    pin: Annotated[int, Field(ge=0)] | None = None
    """Serve exactly this version, at once and to everybody, until the field is taken out."""

    # As a rule: the API server compares whole numbers with a fractional minimum cut to a whole one.
    poll_seconds: Annotated[
        float,
        Field(
            le=300,
            json_schema_extra=rules(
                rule("self >= 0.2", "pollSeconds is at least 0.2, for example pollSeconds: 2")
            ),
        ),
    ] = 2
    """Seconds from one look for a new version to the next."""

    mode: Literal["LatestWins"] = "LatestWins"
    """A version that arrives during a rollout waits; the newest waiting one goes next."""


class LaneSpec(Part):
    """How a version is brought to users, and when it is taken back."""

    batches: Annotated[
        int,
        Field(
            le=100,
            json_schema_extra=rules(
                rule(
                    "self >= 1",
                    "a rollout has at least one batch; write batches: 1 to bring a version to all"
                    " users at once",
                )
            ),
        ),
    ] = 10
    """Parts that users are divided into, by a hash of their id."""

    interval_seconds: Annotated[float, Field(ge=0, le=86_400)] = 2
    """Seconds from one batch to the next."""

    min_requests: Annotated[int, Field(ge=0, le=1_000_000)] = 10
    """Requests that the candidate must have answered before a second batch gets it."""

    shadow_requests: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Recorded requests that a replica replays on the candidate before a user gets it."""

    min_score_correlation: Annotated[float, Field(ge=-1, le=1)] = 0.5
    """Least correlation of the candidate's scores with stable's on the same requests."""

    max_score_shift: Annotated[float, Field(gt=0, le=100)] = 1
    """Furthest that mean scores may move from stable's, in standard deviations of stable's (or
    quarters of their mean, where that is more)."""

    max_default_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of looked-up keys without a row that the candidate may have above stable's."""

    max_golden_auc_drop: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How far the candidate's AUC over stable's golden events may lie below stable's own."""

    max_error_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of failed requests that the candidate may have above stable's."""

    max_latency_ratio: Annotated[float, Field(gt=1, le=1000)] = 3
    """How many times stable's p99 latency the candidate's may be."""


class BaseLaneSpec(LaneSpec):
    """How a version is brought to users that does not descend from stable, or differs in kind."""

    interval_seconds: Annotated[float, Field(ge=0, le=86_400)] = 120
    """Seconds from one batch to the next."""


class RolloutSpec(Part):
    """How versions come to users."""

    revision_history_limit: Annotated[int, Field(ge=1, le=10)] = 3
    """Promoted versions that replicas keep warm, stable among them: how far one can roll back."""

    delta: LaneSpec = LaneSpec()
    """For a version that descends from stable and has its architecture and transforms."""

    base: BaseLaneSpec = BaseLaneSpec()
    """For every other version."""

    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86_400)] = 600
    """Seconds after which a version that replicas do not get to serve is rolled back."""


class RequestTracingSpec(TracingSpec):
    """Where traces of requests and of loaded versions are sent, and of how many requests."""

    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of requests that are traced, of those that come without a traceparent header; with
    one, its sampled flag decides."""


class RequestLogSpec(Part):
    """Which answered requests servers log to their stdout."""

    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Share of the answered requests."""

    per_second: Annotated[float, Field(gt=0, le=1000)] = 10
    """Lines a second of one server, at most; a line of 100 items and 50 clicks has about 4 kB."""


class RecServingSpec(Part):
    """What is asked of the operator."""

    image: Image | None = None
    """Image of the server; by default the one the operator was installed with."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 2
    """Servers; the operator never changes it, so an autoscaler may, through /scale."""

    model: ServedModel
    """The model that is served."""

    store: StoreSpec
    """Where its versions are."""

    version_policy: VersionPolicy = VersionPolicy()
    """Which version is served."""

    rollout: RolloutSpec = RolloutSpec()
    """How versions come to users."""

    latency_budget_millis: Annotated[int, Field(ge=1, le=MOST_BUDGET_MILLIS)] = 50
    """Milliseconds after which a request that still waits for its turn is refused rather than
    answered late; the header x-latency-budget-millis of a request goes before it."""

    precision: Precision = "Float32"
    """Of the numbers that are multiplied for a score. BFloat16 takes two thirds of the time
    or less on processors with AMX or AVX-512 BF16, for versions that rank alike in both; elsewhere
    scores are Float32."""

    tracing: RequestTracingSpec | None = None
    """Sends traces to a collector; without it nothing is traced."""

    request_log: RequestLogSpec | None = None
    """Logs a sample of the answered requests, with ids of users and items, for replaying them;
    without it none."""

    resources: Resources = Resources()
    """Of one server; requests of 500m CPU and 512Mi of memory where none are named."""

    node_selector: NodeSelector = Field(default_factory=dict)
    """Labels that a server's node must have."""

    tolerations: Tolerations = ()
    """Taints that servers accept."""
