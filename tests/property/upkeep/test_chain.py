"""The chain survives whatever its users do, in any order, with a mishap at any call.

R5, R7, R12, R14, R17, R18, R25: trainers publish, are killed, lose replies, race each other; an
operator promotes and rolls back; servers load and restart; others compact and collect. R29: users
are erased; none of them has a row or a tombstone in what knows of it, in any way to it. After
every step each version that exists, and each that a channel names, is read whole by a server and
by a trainer and holds exactly what its place in the stream says.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.builders.chain import LINEAGE, VERBS, World, store_at
from tests.builders.mishaps import How, Inline, Mishap
from tests.builders.proofs import Prover
from tests.builders.upkeep import roots_of

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef

IS_LONG = "MILLSTREAM_LONG" in os.environ
STEPS = 100_000 if IS_LONG else 10_000
STEPS_AT_ONCE = 100
EXAMPLES = STEPS // STEPS_AT_ONCE * 11 // 10  # some end early
# The same walk each time unless it is a long one, which is to find new ways.
ANY_SEED = random.SystemRandom().getrandbits(32) if IS_LONG else 7
SEED = int(os.environ.get("MILLSTREAM_SEED", ANY_SEED))

verbs = st.sampled_from([*VERBS, "publish", "publish", "publish"])
# Any call at all, or one of those on which everything turns.
calls = st.tuples(st.integers(1, 45), st.just("")) | st.tuples(
    st.integers(1, 3),
    st.sampled_from(
        [
            *("/commit/", "/manifest/", "/data/", "/writer/", "/channel/", "/shortcuts"),
            *("/collector", "/erasure/", "/redactions", "/redacted/"),
        ]
    ),
)
people = st.integers(0, 3)


class Chain(RuleBasedStateMachine):
    steps = 0  # of all runs

    @initialize(number=st.integers(0, 1 << 16))
    def begin(self, number: int) -> None:
        self.world = World(number)
        self.prover = Prover(self.world)
        self.store = store_at(self.world.objects)  # to look from outside
        self.seen: set[VersionRef] = set()
        self.named: set[VersionRef] = set()
        self.lost: set[VersionRef] = set()  # gone when the operator first named them
        self.newest = 0

    @rule(verb=verbs, who=people)
    def act(self, verb: str, who: int) -> None:
        self.world.act(verb, who)

    @rule(
        verb=verbs,
        who=people,
        call=calls,
        how=st.sampled_from(
            ["dies before", "dies after", "fails", "loses the reply", "is away from then on"]
        ),
    )
    def meet_with(self, verb: str, who: int, call: tuple[int, str], how: How) -> None:
        self.world.act(verb, who, Mishap(call[0], how, call[1]))

    @rule(verb=verbs, who=people, call=calls, others=st.lists(st.tuples(verbs, people), max_size=3))
    def race(
        self, verb: str, who: int, call: tuple[int, str], others: list[tuple[str, int]]
    ) -> None:
        def meanwhile() -> None:
            for other in others:
                self.world.act(*other)

        self.world.act(verb, who, Mishap(call[0], "others act", call[1], meanwhile))

    @invariant()
    def everything_is_whole(self) -> None:
        Chain.steps += 1
        store = self.store
        roots = roots_of(store)
        commits = {store.resolve(LINEAGE, number) for number in store.commits(LINEAGE)}
        self.lost = {ref for ref in roots - commits if ref in self.lost or ref not in self.named}
        latest = store.channel("latest")
        if latest is not None:
            assert latest[0].target not in self.lost
            assert latest[0].target.version >= self.newest, "the newest version never goes back"
            self.newest = latest[0].target.version
        self.named = roots
        assert roots - commits <= self.lost, "what a channel names exists"
        assert self.world.leased() <= commits, "what a reader leases exists"
        self.prover.prove(commits)
        for ref in commits - self.seen:
            self.refuse_known(ref)
        self.seen |= commits
        self.prover.prove_shortcuts()
        self.world.assert_served()

    def refuse_known(self, ref: VersionRef) -> None:
        """No trainer builds upon what was quarantined when it began to publish."""
        manifest = self.store.manifest(ref)
        token = manifest.dense["serve"].path.split("/")[1].partition("-")[2].partition(".")[0]
        if manifest.parent is not None:
            ancestors = {each.digest for each, _ in self.store.ancestry(manifest.parent)}
            assert not ancestors & self.world.knew[token]


@pytest.mark.timeout(900)
def test_the_chain_survives(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("trainer.publishing.restoring", "serving.loading.shelf"):
        package = module.partition(".")[0]
        name = f"millstream_{package}{module.removeprefix(package)}.ThreadPoolExecutor"
        monkeypatch.setattr(name, Inline)
    Chain.steps = 0
    try:
        run_state_machine_as_test(
            seed(SEED)(Chain),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS_AT_ONCE,
                database=None,  # what is repeated from it counts, and is shorter
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    finally:
        with capsys.disabled():
            print(f"\n{Chain.steps} steps with MILLSTREAM_SEED={SEED}")  # noqa: T201
    assert Chain.steps >= STEPS


@pytest.mark.parametrize("call", range(1, 61))
def test_a_run_that_erases_and_is_held_up_names_nothing_that_was_collected(call):
    """For longer than young objects stay, at any of its calls."""
    state = Chain()
    state.begin(0)
    for verb in (*["learn"] * 8, "publish"):
        state.act(verb, 0)
    state.race("erase", 2, (call, ""), [("wait", 3), ("collect", 0)])
    state.everything_is_whole()
    state.act("erase", 2)
    state.everything_is_whole()
