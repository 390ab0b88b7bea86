"""Whatever happens in whatever order, these hold of every release."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from millstream_api.manifest import VersionRef
from millstream_operator.decide.rollout import decide_rollout
from tests.builders.operator import AWAY, Server, World, make_published, make_store
from tests.builders.resources import make_counters, make_ref, make_serving_spec

BATCHES = 4
SERVERS = 3


class AnyRollout(RuleBasedStateMachine):
    """A RecServing, a store and three servers, to which anything may happen at any time."""

    def __init__(self) -> None:
        super().__init__()
        lane = {"batches": BATCHES, "intervalSeconds": 1}
        self.world = World(
            spec=make_serving_spec(
                replicas=SERVERS, rollout={"delta": lane, "base": lane | {"intervalSeconds": 5}}
            ),
            servers=[Server(f"s{number}") for number in range(SERVERS)],
        )
        self.parents: dict[int, int | None] = {}
        self.epoch = -1
        self.reachable = True

    # What may happen

    @rule(base=st.booleans(), fresh=st.booleans())
    def publish(self, base: bool, fresh: bool) -> None:
        """The trainer publishes on the newest version, or on stable as after a rollback."""
        newest = max(self.parents, default=None)
        stable = self.world.release.stable
        parent = stable.version if fresh and stable is not None else newest
        number = (newest or 0) + 1
        self.parents[number] = None if base and number == 1 else parent
        self._look()

    @rule(seconds=st.sampled_from([0.1, 1.0, 30.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(which=st.integers(0, SERVERS - 1), answers=st.booleans(), ready=st.booleans())
    def change_server(self, which: int, answers: bool, ready: bool) -> None:
        server = self.world.servers[which]
        server.answers, server.ready = answers, ready

    @rule(which=st.integers(0, SERVERS - 1), follows=st.booleans(), loads=st.booleans())
    def slow_server(self, which: int, follows: bool, loads: bool) -> None:
        server = self.world.servers[which]
        server.follows, server.loads = follows, loads

    @rule(which=st.integers(0, SERVERS - 1), data=st.data())
    def refuse(self, which: int, data: st.DataObject) -> None:
        if self.parents:
            version = data.draw(st.sampled_from(sorted(self.parents)))
            self.world.servers[which].refuses = {make_ref(version): "DigestMismatch"}

    @rule(requests=st.sampled_from([0, 3, 1000]), errors=st.sampled_from([0.0, 0.3]))
    def count(self, requests: int, errors: float) -> None:
        for server in self.world.servers:
            server.tried = make_counters(requests, errors=int(errors * requests))

    @rule(shift=st.sampled_from([0.0, 5.0]))
    def shadow(self, shift: float) -> None:
        for server in self.world.servers:
            server.shadow = {"mean_shift": shift}

    @rule(reachable=st.booleans())
    def store(self, reachable: bool) -> None:
        self.reachable = reachable
        self._look()

    @precondition(lambda self: self.parents)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        version = data.draw(st.sampled_from([*sorted(self.parents), 999]))
        self.world.rollback_to = str(version)

    @rule()
    def ask_no_more(self) -> None:
        self.world.rollback_to = None

    @rule()
    def restart(self) -> None:
        """Nothing is remembered but what the API server holds."""
        self.world.decisions.clear()

    @rule(times=st.integers(1, 8))
    def look(self, times: int) -> None:
        for _ in range(times):
            self._look()
            before = self.world.release
            self.world.step()
            after = self.world.release
            same = after.candidate == before.candidate and after.candidate is not None
            if same and after.advanced > before.advanced:
                assert after.advanced == before.advanced + 1, "one batch at a time"
                ready = [server for server in self.world.servers if server.ready]
                assert ready
                for server in ready:
                    assert server.answers, "a gap in the reports never advances"
                    assert server.release.epoch == before.epoch

    # What always holds

    @invariant()
    def epochs_only_grow(self) -> None:
        assert self.world.release.epoch >= self.epoch
        self.epoch = self.world.release.epoch

    @invariant()
    def nothing_quarantined_is_served(self) -> None:
        release = self.world.release
        for ref in (release.stable, release.candidate):
            assert ref is None or ref.digest not in release.quarantined

    @invariant()
    def nothing_learned_on_a_quarantined_version_is_candidate(self) -> None:
        release = self.world.release
        if release.candidate is None:
            return
        version: int | None = release.candidate.version
        while version is not None:
            assert make_ref(version).digest not in release.quarantined
            if release.stable is not None and version == release.stable.version:
                return
            version = self.parents[version]

    @invariant()
    def never_more_batches_than_asked(self) -> None:
        release = self.world.release
        assert 0 <= release.advanced <= release.batches == BATCHES or release.batches == 10
        assert release.candidate is not None or release.advanced == 0

    @invariant()
    def warm_versions_are_bounded_and_no_candidate_is_among_them(self) -> None:
        release = self.world.release
        assert len(release.hold) <= 3
        assert release.stable not in release.hold
        assert len(set(release.hold)) == len(release.hold)

    @invariant()
    def a_rollout_is_remembered_exactly_while_there_is_one(self) -> None:
        status = self.world.status
        assert (status.rollout is not None) == (self.world.release.candidate is not None)

    @invariant()
    def stable_never_vanishes(self) -> None:
        if self.world.status.history:
            assert self.world.release.stable is not None

    @invariant()
    def two_decisions_on_one_state_of_things_are_the_same(self) -> None:
        observed = self.world.observed()
        once = decide_rollout(observed, self.world.now, self.world.spec)
        twice = decide_rollout(observed, self.world.now, self.world.spec)
        assert once == twice

    def _look(self) -> None:
        """What the store shows now: the newest version and its line down to stable."""
        if not self.reachable:
            self.world.store = AWAY
            return
        line, version = [], max(self.parents, default=None)
        stable: VersionRef | None = self.world.release.stable
        while version is not None:
            line.append(make_published(version))
            if stable is not None and version == stable.version:
                break
            version = self.parents[version]
        self.world.store = make_store(*line)


AnyRollout.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestAnyRollout = AnyRollout.TestCase
