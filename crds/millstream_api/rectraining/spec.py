"""`spec` of a RecTraining: what is trained, on which events, and what is published of it.

It is what a person writes; operators and trainers only read it.
"""

from typing import Annotated

from pydantic import ConfigDict, Field

from millstream_api.rectraining.model import ModelSpec
from millstream_api.rectraining.source import SourceSpec
from millstream_api.resources import (
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
