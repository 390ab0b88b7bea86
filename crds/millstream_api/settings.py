"""What the operator hands to a trainer or a server: the settings file in their ConfigMap.

The operator renders it from the custom resource; the programs read nothing else but their
credentials, which come as the environment variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

from __future__ import annotations

from pydantic import Field

from millstream_api.features import FEATURE_DIM, Feature
from millstream_api.manifest import CLICK, ArchitectureName, Tasks
from millstream_api.names import OVERFLOW_PATH, Precision
from millstream_api.tables import TablesSpec
from millstream_api.wire import Wire


class StoreSettings(Wire):
    """Where the model store is."""

    endpoint: str | None = None  # None: AWS itself
    region: str = "us-east-1"
    bucket: str
    prefix: str = ""


class SyntheticSource(Wire):
    """The seeded generator: Zipf users and items, a latent truth that drifts, new items."""

    seed: int = 0
    users: int = 2000
    items: int = 1000
    events_per_second: float = 200.0
    drift_per_hour: float = 1.0  # how far the truth turns in an hour, in radians
    new_items_per_hour: float = 60.0
    context_effect: float = Field(default=0.0, exclude_if=lambda effect: effect == 0)
    start: float  # Unix seconds of the first event


class MovielensSource(Wire):
    """The 100,000 timestamped ratings inside the recbole wheel, replayed."""

    start: float  # Unix seconds at which the first rating is replayed
    speed: float = 50_000.0  # seconds of the recording in one second of the replay


class TracingSettings(Wire):
    """Where traces are sent."""

    endpoint: str  # of an OTLP/HTTP collector, without /v1/traces
    sample_ratio: float = Field(default=0.0, ge=0, le=1)  # of requests whose callers do not say


class RequestLogSettings(Wire):
    """Which answered requests are logged."""

    sample_ratio: float = Field(ge=0, le=1)
    per_second: float = Field(gt=0)  # at most, of one replica


class TrainerSettings(Wire):
    """One RecTraining, as its workers see it."""

    model: str
    store: StoreSettings
    synthetic: SyntheticSource | None = None  # exactly one source is set
    movielens: MovielensSource | None = None
    architecture: ArchitectureName = Field(default="DIN", exclude_if=lambda name: name == "DIN")
    tasks: Tasks = Field(default=CLICK, exclude_if=lambda tasks: tasks == CLICK)
    custom_module: str | None = Field(default=None, exclude_if=lambda module: module is None)
    embedding_dim: int = 64
    history_length: int = 50
    features: tuple[Feature, ...] = Field(default=(), exclude_if=lambda listed: not listed)
    feature_dim: int = Field(default=FEATURE_DIM, exclude_if=lambda dim: dim == FEATURE_DIM)
    tables: TablesSpec = TablesSpec()
    overflow_folder: str = OVERFLOW_PATH  # for rows beyond a table's memory budget
    batch_size: int = 256
    sparse_learning_rate: float = 0.05
    dense_learning_rate: float = 0.001
    seed: int = 0
    publish_interval_seconds: float = 30.0
    publish_events: int | None = None  # sooner, once so many were learned since the last version
    base_every: int = Field(default=20, ge=1)  # versions from one base to the next, at most
    base_share: float = Field(default=0.5, gt=0)  # of a base's bytes that its deltas may weigh
    validation_window: int = 20_000  # events
    tracing: TracingSettings | None = Field(default=None, exclude_if=lambda given: given is None)


class ServerSettings(Wire):
    """One RecServing, as its replicas see it."""

    model: str
    store: StoreSettings
    release: str  # kube:<namespace>/<config map> or file:<path>
    popular_candidates: int = 100  # items that /recommend ranks
    shadow_requests: int = 200  # recorded requests replayed on a candidate
    latency_budget_millis: int = 50  # in which a request's turn must come
    # That answer; by default one for each processor that the pod may use.
    threads: int | None = Field(default=None, ge=1, exclude_if=lambda named: named is None)
    precision: Precision = Field(default="Float32", exclude_if=lambda named: named == "Float32")
    tracing: TracingSettings | None = Field(default=None, exclude_if=lambda given: given is None)
    request_log: RequestLogSettings | None = Field(
        default=None, exclude_if=lambda given: given is None
    )
