"""From `kubectl apply` to fresh recommendations, and through outages.

The tests of this folder tell one story in their order, file by file: each goes on from where the
one before it ended.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import httpx
import pytest

from demo import installation as steps
from demo import reaching
from millstream_api.names import HEADER_VERSION
from tests.builders.kube import Kube, eventually
from tests.e2e.path.looking import condition, explain, lasting_pods, stable, status

if TYPE_CHECKING:
    from demo.installation import Installation

# The first test builds and loads the images, which takes long where nothing is cached yet.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]

NEW_USERS = itertools.count(1)


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
