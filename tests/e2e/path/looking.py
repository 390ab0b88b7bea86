"""What a person sees of one model with kubectl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo import installation as steps

if TYPE_CHECKING:
    from demo.installation import Installation
    from tests.builders.kube import Kube


def status(kube: Kube, kind: str, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kube.get(kind, namespace, name).get("status", {})
    return found


def condition(kube: Kube, kind: str, namespace: str, name: str, wanted: str) -> dict[str, Any]:
    conditions = status(kube, kind, namespace, name).get("conditions", [])
    return next((each for each in conditions if each["type"] == wanted), {})


def explain(installed: Installation, namespace: str, name: str = "shop") -> str:
    pods = installed.kubectl("-n", namespace, "get", "pods,rectrainings,recservings")
    state = "jsonpath={.status}"
    pods += installed.kubectl("-n", namespace, "get", "recserving", name, "--output", state)
    operator = installed.kubectl(
        "-n", steps.SYSTEM_NAMESPACE, "logs", "deploy/millstream-operator", "--tail=20"
    )
    return f"{pods}\n{operator}"


def stable(kube: Kube, namespace: str, name: str = "shop") -> int | None:
    version: int | None = status(kube, "RecServing", namespace, name).get("stableVersion")
    return version


def lasting_pods(kube: Kube, namespace: str) -> list[dict[str, Any]]:
    """Trainer and servers; maintenance comes and goes by the clock."""
    return [
        pod
        for pod in kube.list("Pod", namespace)
        if all(owner["kind"] != "Job" for owner in pod["metadata"]["ownerReferences"])
    ]
