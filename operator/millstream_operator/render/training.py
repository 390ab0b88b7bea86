"""The children of a RecTraining: one StatefulSet of workers and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_api import names
from millstream_api.settings import (
    MovielensSource,
    StoreSettings,
    SyntheticSource,
    TracingSettings,
    TrainerSettings,
)
from millstream_operator.render import pods
from millstream_operator.render.metadata import child, selector_labels

if TYPE_CHECKING:
    from millstream_api.rectraining import RecTrainingSpec
    from millstream_api.resources import StoreSpec
    from millstream_operator.render.metadata import Manifest, Parent

GRACE_SECONDS: Final = 60  # a last version is published on the way out


def store_settings(store: StoreSpec) -> StoreSettings:
    """Where the store is, as programs read it."""
    return StoreSettings(
        endpoint=store.endpoint, region=store.region, bucket=store.bucket, prefix=store.prefix
    )


def model_name(parent: Parent, spec: RecTrainingSpec) -> str:
    """The name that versions are published under."""
    return spec.model.name or parent.name


def trainer_settings(parent: Parent, spec: RecTrainingSpec, created: float) -> TrainerSettings:
    """The settings of the workers.

    Args:
        parent: the RecTraining.
        spec: what is asked.
        created: when the object was created, Unix seconds: where its events begin by default.
    """
    synthetic, movielens = spec.source.synthetic, spec.source.movielens
    return TrainerSettings(
        model=model_name(parent, spec),
        store=store_settings(spec.store),
        synthetic=None
        if synthetic is None
        else SyntheticSource(
            seed=synthetic.seed,
            users=synthetic.users,
            items=synthetic.items,
            events_per_second=synthetic.events_per_second,
            drift_per_hour=synthetic.drift_per_hour,
            new_items_per_hour=synthetic.new_items_per_hour,
            context_effect=synthetic.context_effect,
            start=synthetic.start_time.timestamp() if synthetic.start_time else created,
        ),
        movielens=None
        if movielens is None
        else MovielensSource(
            start=movielens.start_time.timestamp() if movielens.start_time else created,
            speed=movielens.speed,
        ),
        architecture=spec.model.architecture,
        tasks=spec.model.tasks,
        custom_module=spec.model.custom.module if spec.model.custom else None,
        embedding_dim=spec.model.embedding_dim,
        history_length=spec.model.history_length,
        features=spec.model.features,
        feature_dim=spec.model.feature_dim,
        tables=spec.tables,
        batch_size=spec.batch_size,
        sparse_learning_rate=spec.optimizer.sparse_learning_rate,
        dense_learning_rate=spec.optimizer.dense_learning_rate,
        seed=spec.model.seed,
        publish_interval_seconds=spec.publish.interval_seconds,
        publish_events=spec.publish.max_events,
        base_every=spec.publish.base_every,
        tracing=None if spec.tracing is None else TracingSettings(endpoint=spec.tracing.endpoint),
    )


def render_training(
    parent: Parent, spec: RecTrainingSpec, *, created: float, image: str, workers: int
) -> list[Manifest]:
    """All children, in the order in which they are applied.

    Args:
        parent: the RecTraining.
        spec: what is asked.
        created: when the object was created, Unix seconds.
        image: of the trainer where the spec names none.
        workers: how many there should be.
    """
    settings = trainer_settings(parent, spec, created)
    program = pods.Program(
        image=image,
        port=names.TRAINER_PORT,
        requests={"cpu": "500m", "memory": "1Gi"},
        startup_seconds=300,
        grace_seconds=GRACE_SECONDS,
        mounts_token=False,
        # Beside the rows there may be a copy that a base is written from, and a version that is
        # restored to take their place.
        disk_bytes=3 * spec.tables.overflow_bytes(),
    )
    labels = selector_labels(parent)
    service = child(
        parent,
        "v1",
        "Service",
        parent.child,
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": labels,
            "ports": [
                {
                    "name": names.HTTP_PORT_NAME,
                    "port": names.TRAINER_PORT,
                    "targetPort": names.HTTP_PORT_NAME,
                }
            ],
        },
    )
    workload = child(
        parent,
        "apps/v1",
        "StatefulSet",
        parent.child,
        spec={
            "replicas": workers,
            "serviceName": parent.child,
            # A worker that cannot start must not keep its successor from being tried.
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": labels},
            "template": pods.pod_template(parent, program, spec, settings),
        },
    )
    return [
        pods.account(parent),
        pods.settings_map(parent, settings),
        service,
        workload,
        pods.disruption_budget(parent),
    ]
