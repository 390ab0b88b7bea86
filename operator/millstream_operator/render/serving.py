"""The children of a RecServing: a Deployment of servers, their Service, and the release.

The release is a ConfigMap of its own, outside the pod template: a new version is a changed
ConfigMap and never a new pod.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_api import names
from millstream_api.settings import RequestLogSettings, ServerSettings, TracingSettings
from millstream_operator.render import pods
from millstream_operator.render.metadata import child, selector_labels
from millstream_operator.render.training import store_settings

if TYPE_CHECKING:
    from millstream_api.recserving import RecServingSpec
    from millstream_api.release import Release
    from millstream_operator.render.metadata import Manifest, Parent

GRACE_SECONDS: Final = 30


def release_name(parent: Parent) -> str:
    """Name of the ConfigMap with the release."""
    return f"{parent.name}-release"


def server_settings(parent: Parent, spec: RecServingSpec) -> ServerSettings:
    """The settings of the servers."""
    rollout = spec.rollout
    return ServerSettings(
        model=spec.model.name,
        store=store_settings(spec.store),
        release=f"kube:{parent.namespace}/{release_name(parent)}",
        shadow_requests=max(rollout.delta.shadow_requests, rollout.base.shadow_requests),
        latency_budget_millis=spec.latency_budget_millis,
        precision=spec.precision,
        tracing=None
        if spec.tracing is None
        else TracingSettings(
            endpoint=spec.tracing.endpoint, sample_ratio=spec.tracing.sample_ratio
        ),
        request_log=None
        if spec.request_log is None
        else RequestLogSettings(
            sample_ratio=spec.request_log.sample_ratio, per_second=spec.request_log.per_second
        ),
    )


def render_release(parent: Parent, release: Release) -> Manifest:
    """The ConfigMap that servers follow."""
    data = {names.RELEASE_KEY: release.canonical().decode()}
    return child(parent, "v1", "ConfigMap", release_name(parent), data=data)


def render_serving(parent: Parent, spec: RecServingSpec, *, image: str) -> list[Manifest]:
    """All children but the release, in the order in which they are applied.

    Args:
        parent: the RecServing.
        spec: what is asked.
        image: of the server where the spec names none.
    """
    settings = server_settings(parent, spec)
    program = pods.Program(
        image=image,
        port=names.SERVER_PORT,
        requests={"cpu": "500m", "memory": "512Mi"},
        startup_seconds=600,
        grace_seconds=GRACE_SECONDS,
        mounts_token=True,
        counts_processors=True,
    )
    labels = selector_labels(parent)
    role = child(
        parent,
        "rbac.authorization.k8s.io/v1",
        "Role",
        parent.child,
        rules=[
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": [release_name(parent)],
                "verbs": ["get", "list", "watch"],
            }
        ],
    )
    binding = child(
        parent,
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        parent.child,
        roleRef={
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": parent.child,
        },
        subjects=[{"kind": "ServiceAccount", "name": parent.child, "namespace": parent.namespace}],
    )
    service = child(
        parent,
        "v1",
        "Service",
        parent.name,
        spec={
            "selector": labels,
            "ports": [
                {
                    "name": names.HTTP_PORT_NAME,
                    "port": 80,
                    "targetPort": names.HTTP_PORT_NAME,
                }
            ],
        },
    )
    workload = child(
        parent,
        "apps/v1",
        "Deployment",
        parent.child,
        spec={
            "replicas": spec.replicas,
            "revisionHistoryLimit": 3,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
            },
            "selector": {"matchLabels": labels},
            "template": pods.pod_template(parent, program, spec, settings),
        },
    )
    budget = [pods.disruption_budget(parent)] if spec.replicas > 1 else []
    return [
        pods.account(parent),
        role,
        binding,
        pods.settings_map(parent, settings),
        service,
        workload,
        *budget,
    ]
