"""The CronJob that looks after a model's store: shorter ways made, what nobody needs taken away.

It runs the server's image, which holds the command line and all it needs in a fraction of the
trainer's bytes. Its pods wear no label that selects a worker, nor the one that the operator
watches pods by: they come and go without a look at the RecTraining.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_api import names
from millstream_operator.render import pods
from millstream_operator.render.metadata import child
from millstream_operator.render.training import model_name

if TYPE_CHECKING:
    from millstream_api.rectraining import RecTrainingSpec
    from millstream_operator.render.metadata import Manifest, Parent

COMPONENT: Final = "maintenance"
LONGEST_SECONDS: Final = 1800
REQUESTS: Final = {"cpu": "100m", "memory": "512Mi"}


def render_maintenance(parent: Parent, spec: RecTrainingSpec, *, image: str) -> Manifest:
    """The CronJob.

    Args:
        parent: the RecTraining.
        spec: what is asked.
        image: of the server.
    """
    asked = spec.maintenance
    labels = {
        names.LABEL_NAME: names.MANAGED_BY,
        names.LABEL_INSTANCE: parent.name,
        names.LABEL_COMPONENT: COMPONENT,
    }
    # What a run uploads must not look abandoned before the run is over.
    limit = min(LONGEST_SECONDS, asked.grace_seconds // 2)
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": parent.child,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.pod_security(),
        "containers": [_container(parent, spec, image)],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return child(
        parent,
        "batch/v1",
        "CronJob",
        f"{parent.name}-{COMPONENT}",
        spec={
            "schedule": asked.schedule,
            "suspend": asked.suspend,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": dict(labels)},
                "spec": {
                    # The next run is the retry.
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": limit,
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            },
        },
    )


def _container(parent: Parent, spec: RecTrainingSpec, image: str) -> Manifest:
    store, asked = spec.store, spec.maintenance
    options = {
        "model": model_name(parent, spec),
        "store-endpoint": store.endpoint,
        "store-region": store.region,
        "store-bucket": store.bucket,
        "store-prefix": store.prefix,
        "keep-versions": asked.keep_versions,
        "grace-seconds": asked.grace_seconds,
    }
    return {
        "name": COMPONENT,
        "image": image,
        "command": ["python", "-m", "millstream_cli.main", "maintain"],
        "args": [f"--{name}={value}" for name, value in options.items() if value not in {None, ""}],
        "env": pods.environment(store.credentials_secret_ref.name),
        "resources": pods.resources(asked.resources, REQUESTS),
        "securityContext": pods.container_security(),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }
