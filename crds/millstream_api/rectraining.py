"""RecTraining: trains one model continuously on a stream of events and publishes its versions.

`spec` is what a person writes; `status` is what the operator found, without a value that ticks:
a quiet object does not change.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from millstream_api.conditions import Condition
from millstream_api.features import FEATURE_DIM, Features
from millstream_api.manifest import CLICK, ArchitectureName, Tasks
from millstream_api.resources import (
    GivenTime,
    Image,
    ModelName,
    NodeSelector,
    Part,
    Resources,
    StatusPart,
    StoreSpec,
    Time,
    Tolerations,
    TracingSpec,
    rule,
    rules,
)
from millstream_api.tables import TablesSpec


class ElasticPolicy(Part):
    """How many workers may take part. This version trains with minReplicas workers."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "self.minReplicas <= self.maxReplicas",
                "minReplicas is at most maxReplicas: lower minReplicas or raise maxReplicas",
                ".minReplicas",
            ),
            rule(
                "self.minReplicas <= 1",
                "more than one worker is not available in this version: write minReplicas: 1;"
                " maxReplicas may already be larger",
                ".minReplicas",
            ),
        )
    )

    min_replicas: Annotated[int, Field(ge=1, le=1024)] = 1
    """Workers without which training waits."""

    max_replicas: Annotated[int, Field(ge=1, le=1024)]
    """Workers that are never exceeded."""


class CustomSpec(Part):
    """A torch module of your own, in a trainer image that has it; see docs/models.md."""

    module: Annotated[
        str,
        Field(
            max_length=200,
            json_schema_extra=rules(
                rule(
                    "self.matches('^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$')",
                    "write package.file:Class, for example module: shop.ranking:Ranker",
                )
            ),
        ),
    ]
    """Where the class is: package.file:Class."""


class ModelSpec(Part):
    """The model and how it begins. A change of anything but the name begins a new lineage."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "(has(self.architecture) && self.architecture == 'Custom') == has(self.custom)",
                "architecture: Custom and custom: {module: package.file:Class} go together: write"
                " both or neither",
                ".custom",
            ),
            rule(
                "!has(self.tasks) || self.tasks.size() < 2 || !has(self.architecture)"
                " || self.architecture in ['DIN', 'MLP']",
                "only architectures DIN and MLP learn conversions: write one of them, or"
                " tasks: [Click]",
                ".tasks",
            ),
        )
    )

    name: ModelName | None = None
    """Name of the model in the store; by default the name of the object."""

    architecture: ArchitectureName = "DIN"
    """What the dense part computes: attention over the user's history (DIN), a user vector times
    the item's row (DotProduct), one perceptron over both and the mean of the history (MLP), or a
    module of your own (Custom)."""

    tasks: Annotated[
        Tasks,
        Field(
            json_schema_extra=rules(
                rule(
                    "self == ['Click'] || self == ['Click', 'Conversion']",
                    "write tasks: [Click], or tasks: [Click, Conversion] to rank by the chance of"
                    " both",
                )
            ),
        ),
    ] = CLICK
    """What is predicted of an event: a click, or a click and then a conversion; what is served is
    the chance of all of them. Conversion is for architectures DIN and MLP."""

    custom: CustomSpec | None = None
    """The module, of architecture Custom."""

    embedding_dim: Annotated[int, Field(ge=4, le=512, multiple_of=4)] = 64
    """Numbers in one embedding; a multiple of 4."""

    history_length: Annotated[int, Field(ge=1, le=1000)] = 50
    """Items of a user's past that the model sees."""

    features: Features = ()
    """What the model sees of the context of an event or a request."""

    feature_dim: Annotated[int, Field(ge=4, le=64, multiple_of=4)] = FEATURE_DIM
    """Numbers in the embedding of a feature; a multiple of 4."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of everything random at the beginning."""


class SyntheticSpec(Part):
    """Events from a seeded generator: Zipf users and items, a taste that drifts, new items."""

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Seed of the generator."""

    users: Annotated[int, Field(ge=1, le=100_000_000)] = 2000
    """How many users there are."""

    items: Annotated[int, Field(ge=1, le=100_000_000)] = 1000
    """How many items there are at the beginning."""

    events_per_second: Annotated[float, Field(gt=0, le=1_000_000)] = 200
    """Events in a second."""

    drift_per_hour: Annotated[float, Field(ge=0, le=1000)] = 1
    """How far the users' taste turns in an hour, in radians."""

    new_items_per_hour: Annotated[float, Field(ge=0, le=1_000_000)] = 60
    """Items that come up in an hour."""

    context_effect: Annotated[float, Field(ge=0, le=10)] = 0
    """How much the device in an event's context decides about a click; taste has 1.2."""

    start_time: GivenTime | None = None
    """Time of the first event; by default the object's creation."""


class MovielensSpec(Part):
    """The 100,000 timestamped ratings of MovieLens 100K, replayed in their order."""

    speed: Annotated[float, Field(gt=0, le=1_000_000_000)] = 50_000
    """Seconds of the recording in one second."""

    start_time: GivenTime | None = None
    """When the first rating is replayed; by default the object's creation."""


class SourceSpec(Part):
    """Where the events come from: exactly one source."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "[has(self.synthetic), has(self.movielens)].filter(named, named).size() == 1",
                "name exactly one source, for example source: {synthetic: {}}; there are"
                " synthetic and movielens",
            )
        )
    )

    synthetic: SyntheticSpec | None = None
    """The seeded generator."""

    movielens: MovielensSpec | None = None
    """The recorded ratings."""


class OptimizerSpec(Part):
    """How fast the model learns."""

    sparse_learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.05
    """Of the embeddings (row-wise Adagrad)."""

    dense_learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.001
    """Of the dense part (Adam)."""


class PublishSpec(Part):
    """When versions are published."""

    interval_seconds: Annotated[float, Field(ge=1, le=86_400)] = 30
    """Seconds from one version to the next."""

    max_events: Annotated[int, Field(ge=1)] | None = None
    """Events after which a version is published early: bounds it while a backlog is learned."""

    base_every: Annotated[int, Field(ge=1, le=1000)] = 20
    """Versions from one base to the next; those between are deltas."""


class MaintenanceSpec(Part):
    """A CronJob that makes ways to versions shorter and removes what nothing reaches any more."""

    schedule: Annotated[
        str,
        Field(
            max_length=100,
            json_schema_extra=rules(
                rule(
                    "self.matches('^[^ ]+( [^ ]+){4}$')",
                    'write five fields of cron, for example schedule: "*/10 * * * *"',
                )
            ),
        ),
    ] = "*/10 * * * *"
    """When, in UTC: minute, hour, day of the month, month, day of the week."""

    keep_versions: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Newest versions that stay, whatever else does."""

    grace_seconds: Annotated[
        int,
        Field(
            le=2_592_000,
            json_schema_extra=rules(
                rule(
                    "self >= 600",
                    "a grace period of 600 seconds or more: uploads under way must not look"
                    " abandoned",
                )
            ),
        ),
    ] = 3600
    """Age in seconds below which nothing is removed."""

    suspend: bool = False
    """Starts no more runs."""

    resources: Resources = Resources()
    """Of one run, which holds a table of one version twice; requests of 100m CPU and 512Mi of
    memory where none are named."""


class RecTrainingSpec(Part):
    """What is asked of the operator."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!(has(self.replicas) && has(self.elasticPolicy))",
                "write either replicas or elasticPolicy, not both; with neither there is one"
                " worker",
            )
        )
    )

    image: Image | None = None
    """Image of the trainer; by default the one the operator was installed with."""

    suspend: bool = False
    """Stops the workers; the versions published stay, and training goes on from the newest."""

    replicas: (
        Annotated[
            int,
            Field(
                le=1024,
                json_schema_extra=rules(
                    rule("self >= 1", "write replicas: 1, or suspend: true to stop training"),
                    rule(
                        "self <= 1",
                        "more than one worker is not available in this version: write replicas: 1",
                    ),
                ),
            ),
        ]
        | None
    ) = None
    """A fixed number of workers."""

    elastic_policy: ElasticPolicy | None = None
    """A range of workers."""

    model: ModelSpec = ModelSpec()
    """The model that is trained."""

    tables: TablesSpec = TablesSpec()
    """How its embedding tables grow, forget and are served."""

    source: SourceSpec
    """Where the events come from."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Events in one step of training."""

    optimizer: OptimizerSpec = OptimizerSpec()
    """How fast the model learns."""

    publish: PublishSpec = PublishSpec()
    """When versions are published."""

    store: StoreSpec
    """Where versions are published to."""

    maintenance: MaintenanceSpec = MaintenanceSpec()
    """How the store is looked after."""

    tracing: TracingSpec | None = None
    """Sends a trace of each version to a collector; without it nothing is traced."""

    resources: Resources = Resources()
    """Of one worker; requests of 500m CPU and 1Gi of memory where none are named."""

    node_selector: NodeSelector = Field(default_factory=dict)
    """Labels that a worker's node must have."""

    tolerations: Tolerations = ()
    """Taints that workers accept."""


class ValidationStatus(StatusPart):
    """How well events were predicted before they were learned from, at the newest version."""

    auc: float | None = None
    """Area under the ROC curve over the sliding window."""

    log_loss: float | None = None
    """Logarithmic loss over the sliding window."""

    conversion_auc: float | None = None
    """The same area for what is served, against conversions; of models that learn them."""


class RecTrainingStatus(StatusPart):
    """What the operator found; written by nobody else."""

    observed_generation: int = 0
    """The metadata.generation that this status is about."""

    conditions: tuple[Condition, ...] = Field(
        default=(),
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    """What holds and what does not."""

    replicas: int = 0
    """Workers there are."""

    ready_replicas: int = 0
    """Workers that train."""

    selector: str = ""
    """Label selector of the workers' pods, for /scale."""

    workers: str = ""
    """Workers that train and workers asked for, as `kubectl get` prints them."""

    utilization: str = "-"
    """Share of the time that workers compute, in coarse steps so that it does not tick."""

    lag: str = "-"
    """Age of the oldest event not yet learned, in coarse steps so that it does not tick."""

    model: str = ""
    """Name of the model in the store."""

    lineage: str = ""
    """Line of descent that versions are published to."""

    version: int | None = None
    """Newest version published."""

    published_at: Time | None = None
    """When it was published."""

    watermark: Time | None = None
    """Time of the newest event that the newest version has learned."""

    validation: ValidationStatus | None = None
    """How good the newest version is."""
