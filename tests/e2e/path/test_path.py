"""From `kubectl apply` to fresh recommendations, through outages, to nothing left.

The tests tell one story in their order: each goes on from where the one before it ended.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo import installation as steps
from demo import reaching
from demo.commands import run
from millstream_api.names import HEADER_VERSION
from tests.builders.kube import Kube, eventually

if TYPE_CHECKING:
    from demo.installation import Installation

# The first test builds and loads the images, which takes long where nothing is cached yet.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

NEW_USERS = itertools.count(1)
# What the control plane itself keeps in every namespace.
ALWAYS_THERE = {"kube-root-ca.crt", "default"}


def status(kube: Kube, kind: str, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = kube.get(kind, namespace, name).get("status", {})
    return found


def condition(kube: Kube, kind: str, namespace: str, name: str, wanted: str) -> dict[str, Any]:
    conditions = status(kube, kind, namespace, name).get("conditions", [])
    return next((each for each in conditions if each["type"] == wanted), {})


def explain(installed: Installation, namespace: str) -> str:
    pods = installed.kubectl("-n", namespace, "get", "pods,rectrainings,recservings")
    state = "jsonpath={.status}"
    pods += installed.kubectl("-n", namespace, "get", "recserving", "shop", "--output", state)
    operator = installed.kubectl(
        "-n", steps.SYSTEM_NAMESPACE, "logs", "deploy/millstream-operator", "--tail=20"
    )
    return f"{pods}\n{operator}"


@pytest.fixture
def url(installed: Installation, namespace: str) -> str:
    return installed.service_url(namespace, "shop")


def stable(kube: Kube, namespace: str, name: str = "shop") -> int | None:
    version: int | None = status(kube, "RecServing", namespace, name).get("stableVersion")
    return version


def ask_users(url: str, count: int = 40) -> set[int]:
    """Requests of ever new users, so that every batch is asked; the versions that answered.

    The same few users would never reach a candidate whose batch holds none of them.
    """
    versions = set()
    with httpx.Client(base_url=url, timeout=5) as client:
        for _ in range(count):
            answer = client.get(f"/recommend/{next(NEW_USERS)}", params={"k": 5})
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["items"]) == 5
            versions.add(int(answer.headers[HEADER_VERSION]))
    return versions


def test_applied_objects_lead_to_a_model_that_answers(
    installed: Installation, kube: Kube, namespace: str
) -> None:
    eventually(
        lambda: stable(kube, namespace) is not None,
        "a version is stable",
        180,
        lambda: explain(installed, namespace),
    )
    url = installed.service_url(namespace, "shop")
    eventually(
        lambda: httpx.get(f"{url}/recommend/1", timeout=5).status_code == 200, "an answer", 30
    )
    unknown = httpx.post(
        f"{url}/v1/rank", json={"user_id": "nobody", "items": ["nothing", 1]}, timeout=5
    )
    assert unknown.status_code == 200, unknown.text


def lasting_pods(kube: Kube, namespace: str) -> list[dict[str, Any]]:
    """Trainer and servers; maintenance comes and goes by the clock."""
    return [
        pod
        for pod in kube.list("Pod", namespace)
        if all(owner["kind"] != "Job" for owner in pod["metadata"]["ownerReferences"])
    ]


def test_a_delta_reaches_all_users_without_touching_a_pod(
    installed: Installation, kube: Kube, namespace: str, url: str
) -> None:
    first = stable(kube, namespace)
    assert first is not None
    pods = {pod["metadata"]["uid"] for pod in lasting_pods(kube, namespace)}

    def newer_is_stable() -> bool:
        ask_users(url)
        return (stable(kube, namespace) or 0) > first

    eventually(
        newer_is_stable, "a newer version is stable", 120, lambda: explain(installed, namespace)
    )
    after = lasting_pods(kube, namespace)
    assert {pod["metadata"]["uid"] for pod in after} == pods
    assert all(
        each["restartCount"] == 0 for pod in after for each in pod["status"]["containerStatuses"]
    )


def test_without_its_store_everything_goes_on_and_says_so(
    installed: Installation, kube: Kube, namespace: str, url: str
) -> None:
    selector = kube.get("Service", "devcluster", "s3")["spec"]["selector"]
    kube.patch("Service", "devcluster", "s3", {"spec": {"selector": {"outage": "yes"}}})
    try:
        for kind in ("RecTraining", "RecServing"):
            eventually(
                lambda kind=kind: (
                    condition(kube, kind, namespace, "shop", "StoreReachable").get("status")
                    == "False"
                ),
                f"{kind} says that the store is away",
                90,
                lambda: explain(installed, namespace),
            )
        before = stable(kube, namespace)
        assert ask_users(url), "servers answer without the store"
        training = condition(kube, "RecTraining", namespace, "shop", "Ready")
        assert training["status"] == "True", "training goes on without the store"
    finally:
        kube.patch(
            "Service", "devcluster", "s3", {"spec": {"selector": {"outage": None, **selector}}}
        )

    def caught_up() -> bool:
        ask_users(url)
        return (stable(kube, namespace) or 0) > (before or 0)

    eventually(
        caught_up,
        "a version published after the outage is stable",
        150,
        lambda: explain(installed, namespace),
    )


def test_an_operator_killed_during_a_rollout_is_not_missed(
    installed: Installation, kube: Kube, namespace: str, url: str
) -> None:
    before = stable(kube, namespace) or 0

    def in_the_middle() -> bool:
        ask_users(url, 20)
        return status(kube, "RecServing", namespace, "shop")["phase"] == "Gray"

    eventually(in_the_middle, "a rollout is under way", 60, lambda: explain(installed, namespace))
    for pod in kube.list("Pod", steps.SYSTEM_NAMESPACE):
        kube.delete("Pod", steps.SYSTEM_NAMESPACE, pod["metadata"]["name"])
    assert ask_users(url), "servers answer without the operator"

    def finished() -> bool:
        ask_users(url, 20)
        return (stable(kube, namespace) or 0) > before

    eventually(finished, "the rollout is finished", 120, lambda: explain(installed, namespace))


def test_a_service_is_reached_through_a_forwarded_port_too(installed: Installation) -> None:
    """As on clusters whose addresses end at their nodes."""
    url = reaching.service_url(installed.environment, "devcluster", "prometheus", is_local=False)
    assert url.startswith("http://127.0.0.1:")
    assert httpx.get(f"{url}/-/ready", timeout=5).status_code == 200


@pytest.mark.usefixtures("namespace")
def test_prometheus_sees_trainer_and_servers(installed: Installation) -> None:
    prometheus = installed.service_url("devcluster", "prometheus")

    def value(query: str) -> float:
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=5)
        found = answer.json()["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    for query in (
        "sum(millstream_training_samples_trained_total) > 0",
        "sum(millstream_serving_requests_total) > 0",
    ):
        eventually(lambda query=query: value(query), f"{query} holds in Prometheus", 60)


def test_the_store_is_maintained_beside_training_and_serving(
    installed: Installation, kube: Kube, namespace: str, url: str
) -> None:
    """The job that the CronJob would start by itself every ten minutes."""
    command = ("-n", namespace, "create", "job", "now", "--from=cronjob/shop-maintenance")
    installed.kubectl(*command)

    def over() -> str | None:
        conditions = kube.get("Job", namespace, "now").get("status", {}).get("conditions", [])
        return next((each["type"] for each in conditions if each["status"] == "True"), None)

    ended = eventually(over, "the job is over", 120, lambda: explain(installed, namespace))
    said = installed.kubectl("-n", namespace, "logs", "job/now")
    assert ended in {"Complete", "SuccessCriteriaMet"}, said
    before = stable(kube, namespace) or 0

    def goes_on() -> bool:
        ask_users(url, 20)
        return (stable(kube, namespace) or 0) > before

    eventually(
        goes_on,
        "a later version is stable",
        120,
        lambda: f"{said}\n{explain(installed, namespace)}",
    )


def test_deleting_both_objects_leaves_no_orphan(
    installed: Installation, kube: Kube, namespace: str
) -> None:
    for kind in ("RecServing", "RecTraining"):
        kube.delete(kind, namespace, "shop")
    kinds = (
        "pods,statefulsets,deployments,replicasets,services,configmaps,serviceaccounts,"
        "poddisruptionbudgets,roles,rolebindings,endpointslices"
    )

    def left() -> set[str]:
        names = installed.kubectl("-n", namespace, "get", kinds, "-o", "name").split()
        return {name for name in names if name.partition("/")[2] not in ALWAYS_THERE}

    eventually(lambda: not left(), "nothing is left", 120, lambda: str(left()))


def test_recorded_ratings_train_a_model_too(
    installed: Installation, kube: Kube, namespace: str
) -> None:
    steps.apply_examples(installed, namespace, "movielens.yaml")
    eventually(
        lambda: stable(kube, namespace, "movielens") is not None,
        "a model of the recorded ratings is stable",
        180,
        lambda: explain(installed, namespace),
    )
    url = installed.service_url(namespace, "movielens")
    ranked = httpx.post(f"{url}/v1/rank", json={"user_id": 196, "items": [242, 302]}, timeout=5)
    assert ranked.status_code == 200, ranked.text
    for kind in ("RecTraining", "RecServing"):
        kube.delete(kind, namespace, "movielens")


def test_uninstalling_the_chart_leaves_only_what_it_promises_to_keep(
    installed: Installation,
) -> None:
    helm = ["helm", "-n", steps.SYSTEM_NAMESPACE, "uninstall", "millstream", "--wait"]
    run(helm, installed.environment)
    left = installed.kubectl(
        "get",
        "clusterroles,clusterrolebindings",
        "-l",
        "app.kubernetes.io/name=millstream",
        "-o",
        "name",
    )
    assert not left.split()
    crds = installed.kubectl("get", "crds", "-o", "name").split()
    assert {name for name in crds if name.endswith("millstream.dev")} == {
        "customresourcedefinition.apiextensions.k8s.io/rectrainings.millstream.dev",
        "customresourcedefinition.apiextensions.k8s.io/recservings.millstream.dev",
    }, "crds.keep keeps them, and so every RecTraining and RecServing"
