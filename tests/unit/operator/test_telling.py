"""Events and series: what is told of an object, how often, and until when."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_api.conditions import Condition
from millstream_api.recserving import RecServingStatus
from millstream_api.release import Release
from millstream_api.resources import at
from millstream_operator.decide.observed import Finding
from millstream_operator.decide.rollout import RolloutDecision
from millstream_operator.decide.states import State
from millstream_operator.decide.verdicts import Verdict
from millstream_operator.render.metadata import Parent
from millstream_operator.shell.cache import Key
from millstream_operator.shell.credentials import CredentialReader, Credentials
from millstream_operator.shell.errors import ApiUnavailable
from millstream_operator.shell.events import BURST, EventRecorder
from millstream_operator.shell.metrics import Metrics
from millstream_operator.shell.transitions import Told, flips, steps
from tests.builders.fake_api import FakeApi
from tests.builders.resources import make_ref

PARENT = Parent("RecServing", "ns", "shop", "uid")
KEY = Key("RecServing", "ns", "shop")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class TestEvents:
    @pytest.fixture
    def api(self) -> FakeApi:
        return FakeApi()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def recorder(self, api: FakeApi, clock: Clock) -> EventRecorder:
        return EventRecorder(api, clock, "op")

    def events(self, api: FakeApi) -> list[dict[str, Any]]:
        return [body for (kind, _, _), body in api.objects.items() if kind == "Event"]

    async def test_the_same_again_raises_a_count(self, recorder, api, clock):
        for _ in range(3):
            await recorder.record(PARENT, "v", "Warning", "NonFiniteRows", "bad rows")
            clock.now += 60
        [event] = self.events(api)
        assert event["count"] == 3
        assert event["firstTimestamp"] == "2027-01-15T08:00:00Z"
        assert event["lastTimestamp"] == "2027-01-15T08:02:00Z"
        assert event["involvedObject"]["uid"] == "uid"

    async def test_another_message_is_another_event(self, recorder, api):
        for message in ("a", "b"):
            await recorder.record(PARENT, "v", "Normal", "VersionPromoted", message)
        assert len(self.events(api)) == 2

    async def test_a_flood_is_dammed_for_its_object_alone(self, recorder, api, clock):
        for number in range(1000):
            await recorder.record(PARENT, "v", "Normal", "VersionPromoted", str(number))
        assert len(self.events(api)) == BURST
        other = Parent("RecServing", "ns", "other", "another uid")
        await recorder.record(other, "v", "Normal", "VersionPromoted", "x")
        assert len(self.events(api)) == BURST + 1
        clock.now += 10
        await recorder.record(PARENT, "v", "Normal", "VersionPromoted", "later")
        assert len(self.events(api)) == BURST + 2

    async def test_one_that_cannot_be_written_is_lost(self, recorder, api):
        api.fail_with = ApiUnavailable("no answer")
        await recorder.record(PARENT, "v", "Normal", "VersionPromoted", "x")


def make_condition(kind: str, status: str) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason="R",
        message="m",
        observed_generation=1,
        last_transition_time=at(1.0),
    )


FLIPS = {
    "ready again": (("Ready", "False"), ("Ready", "True"), [Told("Normal", "R", "m")]),
    "no longer ready": (("Ready", "True"), ("Ready", "False"), [Told("Warning", "R", "m")]),
    "still ready": (("Ready", "True"), ("Ready", "True"), []),
    "said for the first time": (None, ("Ready", "False"), []),
    "not known any more": (("StoreReachable", "True"), ("StoreReachable", "Unknown"), []),
    "suspended on request": (
        ("Suspended", "False"),
        ("Suspended", "True"),
        [Told("Normal", "R", "m")],
    ),
    "a rollout, which has events of its own": (
        ("Progressing", "False"),
        ("Progressing", "True"),
        [],
    ),
}


@pytest.mark.parametrize(("before", "after", "told"), FLIPS.values(), ids=FLIPS)
def test_a_condition_that_flips_is_told(before, after, told):
    known = [make_condition(*before)] if before else []
    assert list(flips(known, [make_condition(*after)])) == told


def make_decision(reason: str, *, transition: bool = True, **release: Any) -> RolloutDecision:
    verdict = Verdict("Failed", Finding(reason, "m")) if reason == "NonFiniteRows" else None
    known = {"epoch": 3, "stable": make_ref(1)} | release
    return RolloutDecision(
        State(Release(**known)), Finding(reason, "m"), 0.0, transition=transition, analysis=verdict
    )


STEPS = {
    "a promotion": (make_decision("VersionPromoted"), [("Normal", "VersionPromoted")]),
    "a rollback": (make_decision("NonFiniteRows"), [("Warning", "NonFiniteRows")]),
    "the first batch": (
        make_decision("BatchAdvanced", advanced=1),
        [("Normal", "BatchAdvanced")],
    ),
    "a later batch": (make_decision("BatchAdvanced", advanced=2), []),
    "no step": (make_decision("AsAsked", transition=False), []),
}


@pytest.mark.parametrize(("decision", "told"), STEPS.values(), ids=STEPS)
def test_a_step_is_told(decision, told):
    assert [(each.kind, each.reason) for each in steps(decision)] == told


class TestMetrics:
    def test_series_go_with_their_object(self):
        metrics = Metrics()
        before = metrics.render()
        for number in range(50):
            key = Key("RecServing", "ns", f"shop-{number}")
            metrics.observe(key, RecServingStatus(watermark=at(1.0)))
            metrics.observe_rollout(key, make_decision("NonFiniteRows"), 1.0, 5.0)
            metrics.observe_rollout(key, make_decision("VersionPromoted"), 1.0, 5.0)
            metrics.forget(key)
        assert metrics.render() == before

    def test_an_unknown_reason_does_not_make_a_label(self):
        metrics = Metrics()
        decision = make_decision("NonFiniteRows")
        odd = RolloutDecision(
            decision.state,
            Finding("SomethingAReplicaMadeUp", "m"),
            0.0,
            transition=True,
            analysis=decision.analysis,
        )
        metrics.observe_rollout(KEY, odd, None, 1.0)
        text = metrics.render().decode()
        assert 'millstream_rollbacks_total{name="shop",namespace="ns",reason="Other"} 1.0' in text

    def test_the_present_phase_is_the_only_one(self):
        metrics = Metrics()
        metrics.observe_rollout(KEY, make_decision("AsAsked"), None, 1.0)
        metrics.observe_rollout(
            KEY, make_decision("NewVersionDetected", candidate=make_ref(2)), None, 1.0
        )
        lines = [
            line
            for line in metrics.render().decode().splitlines()
            if line.startswith("millstream_rollout_info{")
        ]
        assert len(lines) == 1
        assert 'candidate="2"' in lines[0]


class TestCredentials:
    @pytest.fixture
    def api(self) -> FakeApi:
        return FakeApi()

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def reader(self, api: FakeApi, clock: Clock) -> CredentialReader:
        return CredentialReader(api, clock)

    def seed(self, api: FakeApi, **data: str) -> None:
        api.seed(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "s3", "namespace": "ns"},
                "data": data,
            }
        )

    async def test_a_pair_of_keys_is_read_and_never_shown(self, reader, api):
        self.seed(api, AWS_ACCESS_KEY_ID="bWU=", AWS_SECRET_ACCESS_KEY="aHVzaAo=")
        found = await reader.read("ns", "s3")
        assert found == Credentials("me", "hush")
        assert "hush" not in repr(found)

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {"AWS_ACCESS_KEY_ID": "bWU="},
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            {"AWS_ACCESS_KEY_ID": "///", "AWS_SECRET_ACCESS_KEY": "aHVzaA=="},
        ],
        ids=["nothing", "half", "empty", "no base64"],
    )
    async def test_what_is_missing_is_named(self, reader, api, data):
        self.seed(api, **data)
        found = await reader.read("ns", "s3")
        assert isinstance(found, Finding)
        assert found.reason == "SecretIncomplete"
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in found.message

    async def test_a_secret_that_is_not_there_is_looked_for_again(self, reader, api):
        found = await reader.read("ns", "s3")
        assert isinstance(found, Finding)
        assert found.reason == "SecretMissing"
        self.seed(api, AWS_ACCESS_KEY_ID="bWU=", AWS_SECRET_ACCESS_KEY="aHVzaA==")
        assert isinstance(await reader.read("ns", "s3"), Credentials)

    async def test_it_is_read_seldom_and_a_new_pair_is_found(self, reader, api, clock):
        self.seed(api, AWS_ACCESS_KEY_ID="bWU=", AWS_SECRET_ACCESS_KEY="aHVzaA==")
        for _ in range(5):
            await reader.read("ns", "s3")
        assert len(api.calls) == 1
        self.seed(api, AWS_ACCESS_KEY_ID="eW91", AWS_SECRET_ACCESS_KEY="aHVzaA==")
        clock.now += 31
        assert await reader.read("ns", "s3") == Credentials("you", "hush")
