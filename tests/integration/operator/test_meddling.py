"""Stores that go, people that meddle, objects that are deleted: the operator stays and copes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.builders.kube import eventually
from tests.builders.operator_cluster import CHILDREN, MORE_CHILDREN, Publisher, ours
from tests.builders.ports import free_port
from tests.builders.resources import training_document
from tests.builders.s3_server import s3_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.builders.operator_cluster import OperatorProcess
    from tests.integration.operator.conftest import Pool, Shop

pytestmark = pytest.mark.integration


@pytest.fixture
def operator(pool: Pool) -> OperatorProcess:
    """One for all tests of this module."""
    return pool.operator


@pytest.fixture
def namespace(pool: Pool) -> str:
    return pool.free.pop()


class TestTheStoreIsAway:
    def test_at_the_start_and_later(self, shop: Shop, tmp_path: Path):
        port = free_port()
        with s3_server(tmp_path, port) as server:
            shop.publisher = Publisher(server, "away")
            shop.publisher.publish(1)
        shop.operator.start()
        shop.apply()
        shop.eventually(
            lambda: shop.condition("StoreReachable") == ("False", "Unreachable"), "it is said"
        )
        with s3_server(tmp_path, port):
            shop.serves(1)
            assert shop.condition("StoreReachable") == ("True", "Reachable")
            shop.publisher.publish(2, 1)
            shop.eventually(lambda: shop.release.get("advanced", 0) >= 2, "2 is under way")
        shop.serves(2)  # the rollout goes on
        shop.eventually(
            lambda: shop.condition("StoreReachable") == ("False", "Unreachable"), "it is said again"
        )
        assert shop.condition("Ready")[0] == "True"
        shop.rollback_to("1")
        began = time.monotonic()
        shop.eventually(lambda: shop.status.get("stableVersion") == 1, "rolling back works too")
        assert time.monotonic() - began < 5
        with s3_server(tmp_path, port):
            shop.rollback_to(None)
            shop.publisher.publish(3, 2)
            shop.serves(3, 60)

    def test_objects_can_be_deleted_meanwhile(self, shop: Shop):
        shop.operator.start()
        shop.apply(
            store={
                "endpoint": f"http://127.0.0.1:{free_port()}",
                "bucket": "models",
                "credentialsSecretRef": {"name": "s3-credentials"},
            }
        )
        shop.eventually(
            lambda: shop.condition("StoreReachable") == ("False", "Unreachable"), "it is said"
        )
        shop.kube.delete("RecServing", shop.namespace, "shop", "Foreground")
        shop.eventually(
            lambda: shop.kube.find("RecServing", shop.namespace, "shop") is None, "it is gone"
        )

    def test_a_missing_secret_is_named_and_then_found(self, shop: Shop):
        shop.kube.delete("Secret", shop.namespace, "s3-credentials")
        shop.operator.start()
        shop.publisher.publish(1)
        shop.apply()
        shop.eventually(
            lambda: shop.condition("Stalled") == ("True", "SecretMissing"), "it is said"
        )
        assert "s3-credentials" in str(shop.status["conditions"])


class TestDeleting:
    def test_both_objects_leave_nothing(self, running: Shop):
        running.kube.apply(training_document(namespace=running.namespace))
        running.eventually(
            lambda: running.kube.find("Pod", running.namespace, "shop-trainer-0"), "it trains"
        )
        for kind in ("RecTraining", "RecServing"):
            running.kube.delete(kind, running.namespace, "shop")
        for server in running.servers:
            running.kube.delete("Pod", running.namespace, server.name)
        running.eventually(lambda: not ours(running.kube, running.namespace), "nothing is left", 40)
        running.eventually(
            lambda: (
                not any(
                    f'namespace="{running.namespace}"' in name
                    for name in running.operator.metrics()
                )
            ),
            "no series is left",
        )

    def test_a_new_object_of_the_same_name_begins_afresh(self, running: Shop):
        running.publisher.publish(2, 1)
        running.serves(2)
        old = running.body["metadata"]["uid"]
        running.kube.delete("RecServing", running.namespace, "shop")
        running.eventually(
            lambda: running.kube.find("RecServing", running.namespace, "shop") is None, "it is gone"
        )
        for server in running.servers:
            server.does.release = type(server.does.release)()
        running.apply()
        running.serves(2, 40)
        assert running.body["metadata"]["uid"] != old
        assert [entry["version"] for entry in running.status["history"]] == [2]
        for name in ("shop-release", "shop-server"):
            owner = running.kube.get("ConfigMap", running.namespace, name)["metadata"]
            assert owner["ownerReferences"][0]["uid"] == running.body["metadata"]["uid"]


class TestOthersMeddle:
    def test_a_changed_child_is_put_right_and_a_deleted_one_comes_back(self, running: Shop):
        kube, namespace = running.kube, running.namespace
        kube.patch("Deployment", namespace, "shop-server", {"spec": {"replicas": 7}})
        kube.delete("ConfigMap", namespace, "shop-release")
        kube.patch("Service", namespace, "shop", {"spec": {"selector": {"app": "mine"}}})
        running.eventually(
            lambda: kube.get("Deployment", namespace, "shop-server")["spec"]["replicas"] == 2,
            "replicas are as asked",
        )
        running.eventually(
            lambda: kube.find("ConfigMap", namespace, "shop-release"), "the release is back"
        )
        running.eventually(
            lambda: (
                "app.kubernetes.io/instance"
                in kube.get("Service", namespace, "shop")["spec"]["selector"]
            ),
            "the selector is back",
        )

    def test_foreign_labels_and_annotations_of_the_parent_stay_there(self, shop: Shop):
        shop.operator.start()
        shop.publisher.publish(1)
        shop.apply()
        shop.kube.patch(
            "RecServing",
            shop.namespace,
            "shop",
            {
                "metadata": {
                    "labels": {"app.kubernetes.io/instance": "argo-app", "team": "x"},
                    "annotations": {"argocd.argoproj.io/tracking-id": "app:x"},
                }
            },
        )
        shop.serves(1)
        for kind in ("Deployment", "ConfigMap", "Service"):
            for body in shop.kube.list(kind, shop.namespace, "app.kubernetes.io/instance=shop"):
                text = str(body["metadata"])
                assert "argo" not in text
                assert "team" not in text

    def test_an_object_of_a_childs_name_is_left_alone(self, shop: Shop):
        mine = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "shop", "namespace": shop.namespace, "labels": {"mine": "yes"}},
            "spec": {"ports": [{"port": 1234}], "selector": {"mine": "yes"}},
        }
        shop.kube.apply(mine)
        shop.operator.start()
        shop.apply()
        shop.eventually(
            lambda: shop.condition("Stalled") == ("True", "ChildConflict"), "it is said"
        )
        assert shop.kube.get("Service", shop.namespace, "shop")["spec"]["ports"][0]["port"] == 1234
        assert shop.kube.find("Deployment", shop.namespace, "shop-server"), "the rest is made"
        shop.kube.delete("Service", shop.namespace, "shop")
        shop.publisher.publish(1)
        shop.serves(1)
        shop.eventually(lambda: shop.condition("Ready")[0] == "True", "it is ready")

    def test_a_quota_that_forbids_children_is_said_in_its_own_words(self, shop: Shop):
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": shop.namespace},
            "spec": {"hard": {"count/deployments.apps": "0"}},
        }
        shop.kube.apply(quota)
        shop.eventually(
            lambda: (
                shop.kube.get("ResourceQuota", shop.namespace, "none").get("status", {}).get("hard")
            ),
            "the quota counts",
        )
        shop.operator.start()
        shop.publisher.publish(1)
        shop.apply()
        shop.eventually(lambda: shop.condition("Ready") == ("False", "FailedCreate"), "it is said")
        assert "exceeded quota" in str(shop.status["conditions"])
        shop.kube.delete("ResourceQuota", shop.namespace, "none")
        shop.serves(1)
        shop.eventually(lambda: shop.condition("Ready")[0] == "True", "it is ready", 30)

    def test_somebody_who_edits_all_the_time_does_not_stop_it(self, running: Shop):
        running.publisher.publish(2, 1)
        deadline = time.monotonic() + 30
        number = 0
        while running.status.get("stableVersion") != 2:
            number += 1
            running.kube.annotate(
                "RecServing", running.namespace, "shop", "example.com/tick", str(number)
            )
            assert time.monotonic() < deadline, running.explain()
        assert number > 20


def test_a_quiet_cluster_stays_quiet(running: Shop):
    """Nothing is written for longer than anything is done at intervals."""
    # Maintenance is due at full ten minutes, which may be now.
    still = {"suspend": True, "maintenance": {"suspend": True}}
    running.kube.apply(training_document(namespace=running.namespace, **still))
    running.eventually(
        lambda: running.kube.find("StatefulSet", running.namespace, "shop-trainer"), "all is made"
    )

    def versions() -> dict[str, str]:
        found = {}
        for kind in (*CHILDREN, *MORE_CHILDREN, "RecServing", "RecTraining", "Event"):
            for body in running.kube.list(kind, running.namespace):
                meta = body["metadata"]
                if kind == "Event" and body.get("reportingComponent") != "millstream-operator":
                    continue  # the scheduler never tires of pods that it has no node for
                found[f"{kind}/{meta['name']}"] = meta["resourceVersion"]
        return found

    def settled() -> bool:
        before = versions()
        time.sleep(3)
        return versions() == before

    eventually(settled, "nothing changes for 3 s", 40)
    before = versions()
    time.sleep(8)  # twenty-five polls of the store and the servers
    assert versions() == before


def test_scaling_the_object_scales_its_servers(running: Shop):
    path = f"/apis/millstream.dev/v1alpha1/namespaces/{running.namespace}/recservings/shop/scale"
    scale = running.kube.request("GET", path)
    assert "app.kubernetes.io/instance=shop" in scale["status"]["selector"]
    scale["spec"]["replicas"] = 1
    running.kube.request("PUT", path, json=scale)

    def replicas() -> int:
        found = running.kube.get("Deployment", running.namespace, "shop-server")
        return int(found["spec"]["replicas"])

    running.eventually(lambda: replicas() == 1, "one server is asked for")
    running.eventually(
        lambda: running.kube.find("PodDisruptionBudget", running.namespace, "shop-server") is None,
        "one server needs no budget",
    )


def test_ready_is_not_left_over_from_an_earlier_generation(running: Shop):
    for number in range(10):
        running.apply(replicas=2 + number % 2)
        generation = running.body["metadata"]["generation"]
        running.eventually(
            lambda: running.status.get("observedGeneration") == generation,  # noqa: B023
            "the edit is seen",
        )
        ready = next(each for each in running.status["conditions"] if each["type"] == "Ready")
        assert ready["observedGeneration"] == generation
        assert ready["status"] == "False" or number % 2 == 0, running.status


def test_metrics_tell_of_the_rollout(running: Shop):
    running.publisher.publish(2, 1)
    running.serves(2)
    place = f'name="shop",namespace="{running.namespace}"'
    seen = running.operator.metrics()
    assert seen[f"millstream_rollout_duration_seconds_count{{{place}}}"] >= 1
    assert seen[f'millstream_operator_object_ready{{kind="RecServing",{place}}}'] == 1
    assert any(name.startswith("millstream_rollout_info") and "Steady" in name for name in seen)
    assert seen["millstream_operator_queue_retrying"] == 0
