"""The world of a RecServing in memory: published versions, replicas that follow, time by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from millstream_api.manifest import VersionRef
from millstream_api.recserving import RecServingSpec, RecServingStatus
from millstream_api.release import Release
from millstream_api.reports import Counters, Shadow
from millstream_operator.decide.observed import (
    Finding,
    Observed,
    Published,
    Replica,
    StoreView,
)
from millstream_operator.decide.rollout import RolloutDecision, decide_rollout
from millstream_operator.decide.serving import decide_serving_status
from millstream_operator.decide.workloads import Circumstances, Workload
from tests.builders.resources import (
    make_counters,
    make_ref,
    make_report,
    make_serving_spec,
    make_shadow,
)

UID = "6f1c7f0a-0000-4000-8000-000000000001"
REACHABLE = Finding("Reachable", "the store answers")


def make_published(version: int, **fields: Any) -> Published:
    known: dict[str, Any] = {
        "ref": make_ref(version),
        "transform": "t",
        "architecture": "a",
        "watermark": 1_800_000_000.0 + version,
    }
    return Published(**(known | fields))


def make_store(*versions: int | Published, asked: int | None = None) -> StoreView:
    """A line of versions, newest first, that ends at stable."""
    line = tuple(each if isinstance(each, Published) else make_published(each) for each in versions)
    return StoreView(
        REACHABLE,
        reachable=True,
        ancestry=line,
        asked=None if asked is None else make_published(asked),
    )


AWAY = StoreView(Finding("Unreachable", "the store does not answer"), reachable=False)


@dataclass
class Server:
    """A replica that does as its fields say."""

    name: str
    ready: bool = True
    answers: bool = True
    follows: bool = True  # takes up new releases
    loads: bool = True
    compares: bool = True  # has a shadow result as soon as it holds both versions
    refuses: dict[VersionRef, str] = field(default_factory=dict)
    shadow: dict[str, Any] = field(default_factory=dict)
    stale: Shadow | None = None  # of an earlier pair, as long as there is no newer one
    tried: Counters = field(default_factory=make_counters)  # of the candidate
    known: Counters = field(default_factory=make_counters)  # of stable
    restarts: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    release: Release = field(default_factory=Release)
    held: set[VersionRef] = field(default_factory=set)

    def seen(self, release: Release) -> Replica:
        if self.follows and release.epoch > self.release.epoch:
            self.release = release
            if self.loads:
                self.held = set(release.wanted())
        now = self.release
        shadow = self.stale
        both = {now.candidate, now.stable} <= self.held
        if both and self.compares and now.mode == "Shadow":
            shadow = make_shadow(now.candidate, now.stable, **self.shadow)
        counters = {}
        if now.stable is not None:
            counters[now.stable.digest] = self.known
        if now.candidate is not None and now.advanced:
            counters[now.candidate.digest] = self.tried
        report = make_report(
            now,
            self.name,
            holds=tuple(self.held),
            refuses=self.refuses,
            shadow=shadow,
            counters=counters,
            **self.extra,
        )
        return Replica(self.name, self.ready, report if self.answers else None, self.restarts)


@dataclass
class World:
    """One RecServing; `step` decides once and puts the decision in force."""

    spec: RecServingSpec = field(default_factory=make_serving_spec)
    status: RecServingStatus = field(default_factory=RecServingStatus)
    store: StoreView = field(default_factory=make_store)
    servers: list[Server] = field(default_factory=lambda: [Server("a"), Server("b")])
    rollback_to: str | None = None
    now: float = 1_800_000_100.0
    decisions: list[RolloutDecision] = field(default_factory=list)

    @property
    def release(self) -> Release:
        return self.status.release or Release()

    @property
    def reasons(self) -> list[str]:
        """Reasons of the steps taken, in order."""
        return [each.why.reason for each in self.decisions if each.transition]

    def observed(self) -> Observed:
        return Observed(
            uid=UID,
            status=self.status,
            release=self.release,
            replicas=tuple(server.seen(self.release) for server in self.servers),
            wanted_replicas=self.spec.replicas,
            store=self.store,
            rollback_to=self.rollback_to,
        )

    def step(self) -> RolloutDecision:
        observed = self.observed()
        decision = decide_rollout(observed, self.now, self.spec)
        status = decide_serving_status(
            observed,
            decision,
            Circumstances(1, Workload(current=True)),
            "selector",
            self.status.announced,
            self.now,
        )
        # As the API server keeps it.
        self.status = RecServingStatus.model_validate(status.document())
        self.decisions.append(decision)
        self.now += max(decision.wake_after, 0.2)
        return decision

    def run(self, seconds: float = 60.0) -> None:
        """Step until so much time has gone by."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(each for each in self.status.conditions if each.type == kind)
        return found.status, found.reason

    def publish(self, *versions: int | Published) -> None:
        self.store = make_store(*versions)


def make_world(stable: int | None = 1, **fields: Any) -> World:
    """A world in which `stable` is served by all replicas."""
    world = World(**fields)
    if stable is not None:
        world.publish(stable)
        world.run(5)
        assert world.release.stable == make_ref(stable)
        world.decisions.clear()
    return world


def with_line(view: StoreView, line: tuple[Published, ...]) -> StoreView:
    return replace(view, ancestry=line)
