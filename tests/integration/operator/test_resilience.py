"""Whatever is away, taken or killed: it comes out as if nothing had been."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from devcluster import control_plane
from tests.builders.kube import Kube, eventually
from tests.builders.operator_cluster import (
    ROOT,
    SYSTEM_NAMESPACE,
    OperatorProcess,
    ensure_namespace,
    ours,
)
from tests.builders.resources import make_counters, serving_document, training_document

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.operator.conftest import Shop

pytestmark = pytest.mark.integration

# How long the operator goes without its right to write statuses. The mechanism is the same for
# any time beyond the first pauses; MILLSTREAM_LONG=1 runs the 80 s that broke kopf's own timers.
WITHOUT_STATUS_SECONDS = 80.0 if os.environ.get("MILLSTREAM_LONG") else 8.0


def test_objects_applied_before_the_operator_are_taken_up(shop: Shop):
    shop.publisher.publish(1)
    shop.apply()
    shop.kube.apply(training_document(namespace=shop.namespace))
    shop.operator.start()
    shop.serves(1)
    shop.eventually(
        lambda: shop.kube.find("StatefulSet", shop.namespace, "shop-trainer"), "it trains"
    )


def test_the_operator_waits_for_the_definitions_and_says_so(tmp_path: Path):
    with control_plane(tmp_path / "cluster") as cluster, Kube(cluster.kubeconfig) as kube:
        ensure_namespace(kube, SYSTEM_NAMESPACE)
        ensure_namespace(kube, "early")
        operator = OperatorProcess(kube, [], tmp_path)
        operator.grant()
        operator.start(wait=False)
        try:
            eventually(lambda: "kubectl apply -f crds/" in operator.log(), "it says what to do")
            assert operator.answer("/livez") == 200
            assert operator.answer("/readyz") == 503
            for name in ("rectrainings", "recservings"):
                kube.apply(yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text()))
            eventually(operator.leads, "it leads", 30, operator.log)
            assert operator.answer("/readyz") == 200
            # All namespaces are watched here.
            kube.apply(serving_document(namespace="early"))
            eventually(
                lambda: kube.find("Deployment", "early", "shop-server"),
                "it works",
                20,
                operator.log,
            )
        finally:
            operator.close()


class TestKilling:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_at_any_moment_of_a_rollout(self, running: Shop, seed: int):
        moments = random.Random(seed)
        running.publisher.publish(2, 1)
        epochs = [running.release["epoch"]]
        for _ in range(4):
            time.sleep(moments.uniform(0.1, 1.5))  # the moment is what is tested
            running.operator.kill()
            epochs.append(running.release["epoch"])
            running.operator.start(wait=False)
            running.eventually(running.operator.leads, "it leads again", 40)
            if running.status.get("stableVersion") == 2:
                break
        running.serves(2, 60)
        epochs.append(running.release["epoch"])
        assert epochs == sorted(epochs)
        assert [entry["version"] for entry in running.status["history"]] == [2, 1]
        assert not running.status["quarantined"]
        told = running.kube.get("ConfigMap", running.namespace, "shop-release")
        running.eventually(
            lambda: (
                f'"epoch":{running.release["epoch"]}'
                in running.kube.get("ConfigMap", running.namespace, "shop-release")["data"][
                    "release.json"
                ]
            ),
            f"servers get it too, not {told['data']}",
        )

    def test_a_clean_stop_ends_within_seconds_and_gives_the_lease_back(self, running: Shop):
        began = time.monotonic()
        assert running.operator.stop() == 0
        assert time.monotonic() - began < 20
        lease = running.kube.get("Lease", SYSTEM_NAMESPACE, "millstream-operator")
        assert not lease["spec"].get("holderIdentity")


def without_status(rule: dict[str, Any]) -> bool:
    return not any(each.endswith("/status") for each in rule["resources"])


def test_losing_the_right_to_write_statuses_and_getting_it_back(running: Shop):
    role = running.kube.get("Role", running.namespace, "millstream-operator")
    kept = [rule for rule in role["rules"] if without_status(rule)]
    running.kube.patch("Role", running.namespace, "millstream-operator", {"rules": kept})
    running.publisher.publish(2, 1)
    time.sleep(WITHOUT_STATUS_SECONDS)  # the outage itself
    assert running.operator.running
    assert running.status.get("stableVersion") == 1
    running.kube.patch("Role", running.namespace, "millstream-operator", {"rules": role["rules"]})
    running.serves(2, 40)
    # And it goes on reacting, which kopf's timers did not.
    running.publisher.publish(3, 2)
    running.serves(3, 40)


def test_a_bad_version_is_taken_back_even_without_that_right(running: Shop):
    running.apply(rollout={"delta": {"intervalSeconds": 3}})
    bad = running.publisher.publish(2, 1)
    running.eventually(lambda: running.release.get("advanced") == 1, "it is under way")
    role = running.kube.get("Role", running.namespace, "millstream-operator")
    kept = [rule for rule in role["rules"] if without_status(rule)]
    running.kube.patch("Role", running.namespace, "millstream-operator", {"rules": kept})
    for server in running.servers:
        server.does.tried = make_counters(nonfinite=1)

    def taken_back() -> bool:
        told = running.kube.get("ConfigMap", running.namespace, "shop-release")
        return bad.digest in told["data"]["release.json"].partition('"quarantined"')[2]

    running.eventually(taken_back, "servers are told", 20)
    running.kube.patch("Role", running.namespace, "millstream-operator", {"rules": role["rules"]})
    running.eventually(lambda: running.status.get("quarantined"), "the status says so", 40)
    assert running.status["stableVersion"] == 1
    assert "candidateVersion" not in running.status


class TestTwoOperators:
    def second(self, shop: Shop, tmp_path: Path) -> OperatorProcess:
        other = OperatorProcess(shop.kube, [shop.namespace], tmp_path, "second")
        shop.stack.callback(other.close)
        other.start(wait=False)
        shop.eventually(lambda: other.answer("/readyz") == 200, "the second stands by", 30)
        assert not other.leads()
        return other

    def test_the_second_takes_over_at_once_from_one_that_stops(self, running: Shop, tmp_path: Path):
        other = self.second(running, tmp_path)
        assert running.operator.stop() == 0
        began = time.monotonic()
        eventually(other.leads, "the second leads", 10, other.log)
        assert time.monotonic() - began < 5
        running.publisher.publish(2, 1)
        running.serves(2)

    def test_one_that_hangs_ends_before_it_writes_again(self, running: Shop, tmp_path: Path):
        other = self.second(running, tmp_path)
        running.operator.signal(signal.SIGSTOP)
        eventually(other.leads, "the second leads", 30, other.log)
        running.publisher.publish(2, 1)
        running.operator.signal(signal.SIGCONT)
        assert running.operator.wait() == 1
        running.serves(2)
        assert running.status["release"]["stable"]["version"] == 2


def test_deleting_without_the_operator_leaves_nothing_either(running: Shop):
    running.operator.stop()
    running.kube.delete("RecServing", running.namespace, "shop", "Foreground")
    for server in running.servers:
        running.kube.delete("Pod", running.namespace, server.name)
    running.eventually(lambda: not ours(running.kube, running.namespace), "nothing is left", 40)
