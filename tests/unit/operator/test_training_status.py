"""What a RecTraining says of itself, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_api.rectraining import RecTrainingStatus
from millstream_api.reports import StoreHealth
from millstream_operator.decide.observed import Finding
from millstream_operator.decide.training import (
    TrainingWorld,
    Worker,
    decide_training_status,
    wanted_workers,
)
from millstream_operator.decide.workloads import Circumstances, Problem, Workload
from tests.builders.resources import AWAY, make_progress, make_ref, make_training_spec

NOW = 1_800_000_100.0
FINE = Workload(current=True)


def make_worker(**fields: Any) -> Worker:
    known: dict[str, Any] = {"name": "shop-trainer-0", "ready": True, "progress": make_progress()}
    return Worker(**(known | fields))


def decide(
    *workers: Worker,
    before: RecTrainingStatus | None = None,
    spec: dict[str, Any] | None = None,
    workload: Workload = FINE,
    problem: Problem | None = None,
    paused: bool = False,
    generation: int = 1,
) -> RecTrainingStatus:
    world = TrainingWorld(
        status=before or RecTrainingStatus(),
        model="shop",
        workers=workers,
        circumstances=Circumstances(generation, workload, problem, paused),
    )
    status = decide_training_status(world, make_training_spec(**(spec or {})), NOW)
    return RecTrainingStatus.model_validate(status.document())


def conditions(status: RecTrainingStatus) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in status.conditions}


CONFLICT = Problem(Finding("ChildConflict", "there is a Service already"), lasting=True)
CASES: dict[str, tuple[dict[str, Any], tuple[str, str], str | None]] = {
    "it trains and publishes": ({}, ("True", "WorkersReady"), None),
    "no worker yet": ({"workers": []}, ("False", "WaitingForWorkers"), "Reconciling"),
    "the worker is not ready": (
        {"workers": [make_worker(ready=False)]},
        ("False", "WaitingForWorkers"),
        "Reconciling",
    ),
    "the worker does not stay up": (
        {"workers": [make_worker(ready=False, problem="CrashLoopBackOff")]},
        ("False", "WorkerFailing"),
        "Reconciling",
    ),
    "nothing published yet": (
        {"workers": [make_worker(progress=make_progress(published=None))]},
        ("False", "WaitingForVersion"),
        "Reconciling",
    ),
    "pods are being replaced": ({"workload": Workload()}, ("False", "Applying"), "Reconciling"),
    "pods are refused": (
        {"workload": Workload(refused="quota")},
        ("False", "FailedCreate"),
        "Reconciling",
    ),
    "a child's name is taken": ({"problem": CONFLICT}, ("False", "ChildConflict"), "Stalled"),
    "suspended": ({"workers": [], "spec": {"suspend": True}}, ("True", "Suspended"), None),
    "suspended, and the worker is still ending": (
        {"spec": {"suspend": True}},
        ("False", "WaitingForWorkers"),
        "Reconciling",
    ),
}


@pytest.mark.parametrize(("given", "ready", "second"), CASES.values(), ids=CASES)
def test_ready(given: dict[str, Any], ready: tuple[str, str], second: str | None):
    workers = given.pop("workers", [make_worker()])
    found = conditions(decide(*workers, **given))
    assert found["Ready"] == ready
    assert {kind for kind in ("Reconciling", "Stalled") if kind in found} == (
        {second} if second else set()
    )


def test_the_newest_version_is_told_with_its_quality():
    status = decide(make_worker())
    assert (status.version, status.workers, status.utilization, status.lag) == (
        3,
        "1/1",
        "40%",
        "<1s",
    )
    assert status.watermark is not None
    assert status.watermark.timestamp() == 1_799_999_999.0
    assert status.validation is not None
    assert (status.validation.auc, status.validation.conversion_auc) == (0.71, None)


def test_a_model_of_conversions_is_told_with_its_quality_for_them():
    status = decide(make_worker(progress=make_progress(conversion_auc=0.68349)))
    assert status.validation is not None
    assert (status.validation.auc, status.validation.conversion_auc) == (0.71, 0.6835)


def test_nothing_ticks_between_two_versions():
    first = decide(make_worker())
    later = make_progress(
        step=2000, events=512_000, lag_seconds=0.7, busy_ratio=0.39, auc=0.74, log_loss=0.5
    )
    assert decide(make_worker(progress=later), before=first) == first


def test_a_version_without_new_events_is_as_fresh_as_the_one_before():
    first = decide(make_worker())
    idle = make_progress(published=make_ref(4), published_watermark=None)
    second = decide(make_worker(progress=idle), before=first)
    assert (second.version, second.watermark) == (4, first.watermark)


def test_a_worker_that_does_not_answer_leaves_what_was_known():
    first = decide(make_worker())
    silent = decide(make_worker(progress=None), before=first)
    assert (silent.version, silent.watermark) == (3, first.watermark)
    assert (silent.utilization, silent.lag) == ("-", "-")
    assert conditions(silent)["CheckpointHealthy"] == ("Unknown", "WaitingForWorkers")


def test_another_model_forgets_the_versions_of_the_first():
    known = RecTrainingStatus(model="old", version=99, lineage="x")
    silent = decide(make_worker(progress=None), before=known)
    assert (silent.model, silent.version) == ("shop", None)


def test_a_store_that_is_away_is_no_reason_not_to_be_ready():
    first = decide(make_worker())
    away = decide(make_worker(progress=make_progress(store=AWAY)), before=first)
    found = conditions(away)
    assert found["Ready"] == ("True", "WorkersReady")
    assert found["CheckpointHealthy"] == ("False", "Unreachable")
    assert found["StoreReachable"] == ("False", "Unreachable")


def test_a_store_that_was_not_asked_yet_is_no_failure():
    """A worker that has just started has asked nothing; that must not look like an outage."""
    store = StoreHealth(ok=False, reason="NotMet", message="the store was not asked yet")
    found = conditions(decide(make_worker(progress=make_progress(store=store, published=None))))
    assert found["CheckpointHealthy"] == ("Unknown", "NotChecked")
    assert found["StoreReachable"] == ("Unknown", "NotChecked")


def test_times_of_transition_move_only_with_the_status():
    first = decide(make_worker())
    again = decide(make_worker(), before=first, generation=2)
    for before, after in zip(first.conditions, again.conditions, strict=True):
        assert after.last_transition_time == before.last_transition_time
        assert after.observed_generation == 2


def test_a_pause_is_shown_only_while_it_lasts():
    assert conditions(decide(make_worker(), paused=True))["Paused"] == (
        "True",
        "PausedByAnnotation",
    )
    assert "Paused" not in conditions(decide(make_worker()))


@pytest.mark.parametrize(
    ("spec", "workers", "told"),
    [
        ({}, 1, False),
        ({"replicas": 1}, 1, False),
        ({"elasticPolicy": {"maxReplicas": 1}}, 1, False),
        ({"elasticPolicy": {"maxReplicas": 4}}, 1, True),
        ({"suspend": True}, 0, False),
    ],
)
def test_workers_wanted(spec: dict[str, Any], workers: int, told: bool):
    assert wanted_workers(make_training_spec(**spec)) == workers
    assert ("ScalingActive" in conditions(decide(make_worker(), spec=spec))) == told
