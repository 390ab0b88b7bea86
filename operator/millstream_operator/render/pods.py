"""Pods as both programs need them: fit for the *restricted* Pod Security Standard."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millstream_api import names
from millstream_operator.render.metadata import ANNOTATION_SETTINGS, child, selector_labels

if TYPE_CHECKING:
    from millstream_api.recserving import RecServingSpec
    from millstream_api.rectraining import RecTrainingSpec
    from millstream_api.resources import Resources
    from millstream_api.wire import Wire
    from millstream_operator.render.metadata import Manifest, Parent

USER: Final = 65532
ACCESS_KEY: Final = "AWS_ACCESS_KEY_ID"
SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a name


@dataclass(frozen=True)
class Program:
    """What differs between a trainer's and a server's container; the image knows its command."""

    image: str
    port: int
    requests: dict[str, str]  # where the spec names none
    startup_seconds: int
    grace_seconds: int
    mounts_token: bool
    counts_processors: bool = False
    disk_bytes: int = 0  # of a volume on the node's own disk; 0: none


def settings_map(parent: Parent, settings: Wire) -> Manifest:
    """The ConfigMap with a program's settings."""
    data = {names.SETTINGS_KEY: settings.canonical().decode()}
    return child(parent, "v1", "ConfigMap", parent.child, data=data)


def account(parent: Parent) -> Manifest:
    """The ServiceAccount of the pods; only pods that ask for its token get it."""
    return child(parent, "v1", "ServiceAccount", parent.child, automountServiceAccountToken=False)


def disruption_budget(parent: Parent) -> Manifest:
    """At most one pod is taken away at a time."""
    return child(
        parent,
        "policy/v1",
        "PodDisruptionBudget",
        parent.child,
        spec={"maxUnavailable": 1, "selector": {"matchLabels": selector_labels(parent)}},
    )


def pod_template(
    parent: Parent, program: Program, spec: RecTrainingSpec | RecServingSpec, settings: Wire
) -> Manifest:
    """The template of a StatefulSet or Deployment; new settings make new pods."""
    template: Manifest = {
        "metadata": {
            "labels": selector_labels(parent),
            "annotations": {
                ANNOTATION_SETTINGS: hashlib.sha256(settings.canonical()).hexdigest()[:16],
                "prometheus.io/scrape": "true",
                "prometheus.io/port": str(program.port),
                "prometheus.io/path": "/metrics",
            },
        },
        "spec": {
            "serviceAccountName": parent.child,
            "automountServiceAccountToken": program.mounts_token,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": program.grace_seconds,
            "securityContext": pod_security(),
            "containers": [_container(parent, program, spec)],
            "volumes": [
                {"name": "settings", "configMap": {"name": parent.child}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }
    if program.disk_bytes:
        disk = {"sizeLimit": _mebibytes(program.disk_bytes)}
        template["spec"]["volumes"].append({"name": "overflow", "emptyDir": disk})
    if spec.node_selector:
        template["spec"]["nodeSelector"] = dict(spec.node_selector)
    if spec.tolerations:
        template["spec"]["tolerations"] = [each.document() for each in spec.tolerations]
    return template


def _container(
    parent: Parent, program: Program, spec: RecTrainingSpec | RecServingSpec
) -> Manifest:
    secret = spec.store.credentials_secret_ref.name
    requests, mounts = dict(program.requests), []
    if program.disk_bytes:
        requests["ephemeral-storage"] = _mebibytes(program.disk_bytes)
        mounts.append({"name": "overflow", "mountPath": names.OVERFLOW_PATH})
    return {
        "name": parent.component,
        "image": spec.image or program.image,
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            *([_PROCESSORS] if program.counts_processors else []),
            *environment(secret),
        ],
        "ports": [{"name": names.HTTP_PORT_NAME, "containerPort": program.port}],
        "startupProbe": _probe("/healthz", period=2, failures=program.startup_seconds // 2),
        "livenessProbe": _probe("/healthz", period=10, failures=6),
        "readinessProbe": _probe("/readyz", period=2, failures=3),
        "resources": resources(spec.resources, requests),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "settings", "mountPath": _SETTINGS_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - likewise
            *mounts,
        ],
    }


def _mebibytes(size: int) -> str:
    return f"{size >> 20}Mi"


def pod_security() -> Manifest:
    """Nobody in particular, with no more system calls than the runtime's default."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Manifest:
    """No way to more rights, and no file to change but below /tmp."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def environment(secret: str) -> list[Manifest]:
    """The credentials of the store; where to write below /tmp, the images say themselves."""
    return [_from_secret(secret, ACCESS_KEY), _from_secret(secret, SECRET_KEY)]


_SETTINGS_FOLDER: Final = names.SETTINGS_PATH.rpartition("/")[0]


# Rounded up, and where there is no limit all that pods may have of the node:
# https://kubernetes.io/docs/concepts/workloads/pods/downward-api
_PROCESSORS: Final = {
    "name": names.CPU_LIMIT,
    "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}},
}


def _from_secret(secret: str, key: str) -> Manifest:
    return {"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": names.HTTP_PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def resources(asked: Resources, default: dict[str, str]) -> dict[str, Any]:
    """What the spec asks, and a request where it asks none and sets no limit to derive it from."""
    missing = {name: value for name, value in default.items() if name not in asked.limits}
    found: dict[str, Any] = {"requests": {**missing, **asked.requests}}
    return {**found, "limits": dict(asked.limits)} if asked.limits else found
