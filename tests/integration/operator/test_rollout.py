"""The rollout on a real API server and a real S3 server, with servers that pretend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.builders.resources import make_counters

if TYPE_CHECKING:
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


def test_a_version_goes_from_the_store_to_everybody(running: Shop):
    second = running.publisher.publish(2, 1)
    batches = set()

    def promoted() -> bool:
        status = running.status
        batches.add(status["batch"])
        return status.get("stableVersion") == 2

    running.eventually(promoted, "version 2 is stable", 30)
    assert {"1/10", "5/10", "10/10"} <= batches
    assert [ref["version"] for ref in running.release["hold"]] == [1]
    running.eventually(
        lambda: (told := running.publisher.stable()) is not None and told.target == second,
        "the channel stable says so",
    )
    reasons = [reason for _, reason in running.events()]
    assert reasons.count("VersionPromoted") == 2
    assert reasons.count("BatchAdvanced") == 1, "only the first batch is worth an event"
    assert running.condition("Ready")[0] == "True"


def test_a_version_that_a_server_refuses_is_quarantined(running: Shop):
    running.servers[1].does.refuses = {}
    bad = running.publisher.publish(2, 1)
    running.servers[1].does.refuses[bad] = "NonFiniteRows"
    running.eventually(lambda: running.status.get("quarantined"), "it is quarantined")
    [entry] = running.status["quarantined"]
    assert (entry["version"], entry["reason"]) == (2, "NonFiniteRows")
    assert running.status["stableVersion"] == 1
    running.eventually(
        lambda: running.condition("RolledBack") == ("True", "RollbackCompleted"), "it is said"
    )
    running.eventually(
        lambda: (
            (told := running.publisher.stable()) is not None and told.quarantined == (bad.digest,)
        ),
        "the trainer can learn of it",
    )
    running.publisher.publish(3, 2)
    running.eventually(
        lambda: running.condition("Progressing") == ("False", "LineageBlocked"),
        "its child is blocked",
    )
    running.publisher.publish(4, 1)
    running.serves(4)
    assert ("Warning", "NonFiniteRows") in running.events()


def test_a_shifted_shadow_is_never_seen_by_a_user(running: Shop):
    for server in running.servers:
        server.does.shadow = {"mean_shift": 4.0, "correlation": -0.8}
    running.publisher.publish(2, 1)
    running.eventually(lambda: running.status.get("quarantined"), "it is quarantined")
    assert running.status["quarantined"][0]["reason"] == "ScoreShiftExceeded"
    assert ("Normal", "BatchAdvanced") not in running.events()


def test_bad_counters_end_it_within_seconds(running: Shop):
    running.apply(rollout={"delta": {"intervalSeconds": 2}})
    running.publisher.publish(2, 1)
    running.eventually(lambda: running.status["batch"] == "2/10", "it is under way")
    for server in running.servers:
        server.does.tried = make_counters(nonfinite=1)
    began = time.monotonic()
    running.eventually(lambda: running.status.get("quarantined"), "it is quarantined")
    assert time.monotonic() - began < 3
    assert running.status["stableVersion"] == 1


def test_versions_that_come_too_fast_are_passed_over(running: Shop):
    running.publisher.publish(2, 1)
    running.eventually(lambda: running.status.get("candidateVersion") == 2, "2 is under way")
    for version in (3, 4, 5):
        running.publisher.publish(version, version - 1)
    running.eventually(lambda: running.status.get("pendingVersion") == 5, "5 waits")
    running.serves(5)
    assert {entry["version"] for entry in running.status["superseded"]} == {3, 4}


def test_a_missing_replica_holds_it_and_is_named(running: Shop):
    running.servers[0].does.answers = False
    running.publisher.publish(2, 1)
    running.eventually(
        lambda: running.condition("Progressing") == ("True", "WaitingForReplicas"), "it waits"
    )
    messages = [each["message"] for each in running.status["conditions"]]
    assert any("shop-server-a" in message for message in messages)
    running.servers[0].does.answers = True
    running.serves(2)


def test_rolling_back_by_annotation_and_forward_again(running: Shop):
    running.publisher.publish(2, 1)
    running.serves(2)
    began = time.monotonic()
    running.rollback_to("1")
    running.eventually(lambda: running.status.get("stableVersion") == 1, "1 is served")
    assert time.monotonic() - began < 3
    assert running.status["phase"] == "Pinned"
    assert running.condition("RolledBack") == ("True", "Pinned")
    assert not running.status["quarantined"]
    running.publisher.publish(3, 2)
    running.rollback_to(None)
    running.serves(3)


def test_an_impossible_wish_is_explained(running: Shop):
    running.rollback_to("77")
    running.eventually(
        lambda: running.condition("Progressing") == ("False", "UnknownVersion"), "it is said"
    )
    assert running.status["stableVersion"] == 1
    running.rollback_to(None)
    running.publisher.publish(2, 1)
    running.serves(2)


def test_a_pin_in_the_spec_holds_a_version(running: Shop):
    running.publisher.publish(2, 1)
    running.serves(2)
    policy = {"pollSeconds": 0.3}
    running.apply(versionPolicy=policy | {"pin": 1})
    running.eventually(lambda: running.status.get("phase") == "Pinned", "it is pinned")
    assert running.status["stableVersion"] == 1
    running.apply(versionPolicy=policy)
    running.serves(2)


def test_a_pause_stops_everything_but_the_truth(running: Shop):
    running.publisher.publish(2, 1)
    running.eventually(lambda: running.release.get("advanced", 0) >= 2, "it is under way")
    running.kube.annotate("RecServing", running.namespace, "shop", "millstream.dev/pause", "true")
    running.eventually(
        lambda: running.condition("Paused") == ("True", "PausedByAnnotation"), "it is said"
    )
    before = running.release
    time.sleep(1.5)  # five intervals in which nothing may happen
    assert running.release == before
    running.kube.annotate("RecServing", running.namespace, "shop", "millstream.dev/pause", None)
    running.serves(2)
    assert running.condition("Paused") == ("", "")


def test_no_pod_is_made_or_changed_by_a_version(running: Shop):
    deployment = running.kube.get("Deployment", running.namespace, "shop-server")
    running.publisher.publish(2, 1)
    running.serves(2)
    after = running.kube.get("Deployment", running.namespace, "shop-server")
    assert after["metadata"]["generation"] == deployment["metadata"]["generation"]
