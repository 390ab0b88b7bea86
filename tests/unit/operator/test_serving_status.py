"""What a RecServing says of itself besides its rollout."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_api.recserving import RecServingStatus
from millstream_operator.decide.observed import Finding, StoreView
from millstream_operator.decide.rollout import decide_rollout
from millstream_operator.decide.serving import decide_serving_status
from millstream_operator.decide.workloads import Circumstances, Problem, Workload
from tests.builders.operator import World, make_world
from tests.builders.resources import make_ref, make_serving_spec

FINE = Workload(current=True)
CONFLICT = Problem(Finding("ChildConflict", "there is a Service already"), lasting=True)
NO_SECRET = StoreView(Finding("SecretMissing", "there is no Secret s3"), reachable=False)


def decide(
    world: World, workload: Workload = FINE, problem: Problem | None = None
) -> RecServingStatus:
    observed = world.observed()
    decision = decide_rollout(observed, world.now, world.spec)
    return decide_serving_status(
        observed, decision, Circumstances(7, workload, problem), "a=b", "", world.now
    )


def conditions(status: RecServingStatus) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in status.conditions}


def test_all_is_well():
    status = decide(make_world())
    found = conditions(status)
    assert found["Ready"] == ("True", "ReplicasReady")
    assert found["Available"] == ("True", "ReplicasReady")
    assert found["VersionLoaded"] == ("True", "AsAsked")
    assert "Reconciling" not in found
    assert (status.servers, status.batch, status.observed_generation) == ("2/2", "-", 7)
    assert all(each.observed_generation == 7 for each in status.conditions)


CASES: dict[str, tuple[dict[str, Any], tuple[str, str], str]] = {
    "a child's name is taken": (
        {"problem": CONFLICT},
        ("False", "ChildConflict"),
        "Stalled",
    ),
    "pods are refused": (
        {"workload": Workload(refused="exceeded quota")},
        ("False", "FailedCreate"),
        "Reconciling",
    ),
    "pods are being replaced": ({"workload": Workload()}, ("False", "Applying"), "Reconciling"),
}


@pytest.mark.parametrize(("given", "ready", "second"), CASES.values(), ids=CASES)
def test_not_ready(given: dict[str, Any], ready: tuple[str, str], second: str):
    found = conditions(decide(make_world(), **given))
    assert found["Ready"] == ready
    assert second in found


AILING = {
    "too few are ready": (
        False,
        FINE,
        ("WaitingForReplicas", "1 of 2 servers are ready; b: ImagePullBackOff"),
    ),
    "enough are ready but a new one does not start": (
        True,
        Workload(),
        ("Applying", "servers are being replaced by what the spec asks; b: ImagePullBackOff"),
    ),
}


@pytest.mark.parametrize(("is_ready", "workload", "wanted"), AILING.values(), ids=AILING)
def test_servers_are_named_with_what_ails_them(
    is_ready: bool, workload: Workload, wanted: tuple[str, str]
):
    world = make_world()
    world.servers[1].ready = is_ready
    observed = world.observed()
    object.__setattr__(observed.replicas[1], "problem", "ImagePullBackOff")
    decision = decide_rollout(observed, world.now, world.spec)
    circumstances = Circumstances(1, workload)
    status = decide_serving_status(observed, decision, circumstances, "a=b", "", world.now)
    ready = next(each for each in status.conditions if each.type == "Ready")
    assert (ready.reason, ready.message) == wanted


def test_no_servers_asked_for_is_as_asked():
    world = make_world()
    world.spec = make_serving_spec(replicas=0)
    world.servers = []
    found = conditions(decide(world))
    assert found["Ready"] == ("True", "AsAsked")
    assert found["Available"] == ("False", "WaitingForReplicas")


def test_a_missing_secret_needs_a_person_where_nothing_runs():
    world = World(store=NO_SECRET, servers=[])
    found = conditions(decide(world))
    assert found["Stalled"] == ("True", "SecretMissing")
    assert found["StoreReachable"] == ("False", "SecretMissing")


def test_a_secret_that_goes_later_does_not_unready_what_serves():
    world = make_world()
    world.store = NO_SECRET
    found = conditions(decide(world))
    assert found["Ready"][0] == "True"
    assert found["StoreReachable"] == ("False", "SecretMissing")


def test_a_store_that_nobody_has_looked_at_is_unknown():
    world = World()
    world.store = StoreView(Finding("NotChecked", "not read yet"), reachable=None)
    assert conditions(decide(world))["StoreReachable"] == ("Unknown", "NotChecked")


def test_a_version_that_is_being_loaded_is_named():
    world = make_world()
    world.servers[0].loads = False
    world.publish(2, 1)
    world.step()
    world.step()
    loaded = next(each for each in world.status.conditions if each.type == "VersionLoaded")
    assert (loaded.status, loaded.reason) == ("False", "Loading")
    assert loaded.message == "a load version 2"


def test_a_refused_version_is_told_apart_from_a_slow_one():
    world = make_world()
    world.servers[0].refuses = {make_ref(1): "DigestMismatch"}
    assert conditions(decide(world))["VersionLoaded"] == ("False", "VersionRefused")


def test_silent_servers_leave_it_unknown():
    world = make_world()
    for server in world.servers:
        server.answers = False
    assert conditions(decide(world))["VersionLoaded"] == ("Unknown", "WaitingForReplicas")


def test_freshness_is_that_of_what_is_served():
    world = make_world()
    world.publish(2, 1)
    world.run(40)
    assert world.status.watermark is not None
    assert world.status.watermark.timestamp() == 1_800_000_002.0
    world.rollback_to = "1"
    world.step()
    assert world.status.watermark.timestamp() == 1_800_000_001.0


def test_a_status_survives_being_stored():
    world = make_world()
    world.publish(2, 1)
    world.run(6)
    stored = RecServingStatus.model_validate(world.status.document())
    assert stored == world.status


def test_a_status_of_a_later_release_can_be_read():
    document = make_world().status.document() | {"invented": {"later": 1}}
    assert RecServingStatus.model_validate(document).stable_version == 1
