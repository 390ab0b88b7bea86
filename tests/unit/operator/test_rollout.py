"""The rollout, step by step, with time moved by hand."""

from __future__ import annotations

import itertools

import pytest

from millstream_api.conditions import Reason
from tests.builders.operator import AWAY, Server, World, make_published, make_store, make_world
from tests.builders.resources import AWAY as NO_STORE
from tests.builders.resources import make_counters, make_ref, make_serving_spec, make_shadow


def test_the_first_version_serves_as_soon_as_it_is_loaded():
    world = make_world(stable=None)
    world.run(3)
    assert world.status.phase == "Pending"
    assert world.condition("Ready") == ("False", "WaitingForVersion")

    world.publish(1)
    world.run(3)
    assert world.status.stable_version == 1
    assert world.status.phase == "Steady"
    assert world.reasons == ["NewVersionDetected", "VersionPromoted"]
    assert world.condition("Ready")[0] == "True"


def test_the_first_version_waits_for_somebody_to_hold_it():
    world = make_world(stable=None, servers=[Server("a", loads=False)])
    world.publish(1)
    world.run(5)
    assert world.status.phase == "Loading"
    assert world.release.stable is None


def test_a_good_delta_goes_through_all_batches_within_25_seconds():
    world = make_world()
    world.publish(2, 1)
    began = world.now
    seen = set()
    while world.status.stable_version != 2:
        world.step()
        seen.add(world.status.batch)
        assert world.now - began < 25
    assert seen == {"-", *(f"{batch}/10" for batch in range(11))}
    assert world.release.hold == (make_ref(1),)
    assert world.reasons == [
        "NewVersionDetected",
        *["BatchAdvanced"] * 10,
        "VersionPromoted",
    ]


def test_users_first_see_a_delta_within_two_seconds_of_its_loading():
    world = make_world()
    world.publish(2, 1)
    began = world.now
    while world.release.advanced == 0:
        world.step()
    assert world.now - began <= 2


def test_a_batch_is_one_write_of_the_status():
    world = make_world()
    world.publish(2, 1)
    written = [world.status]
    while world.status.stable_version != 2:
        world.step()
        if world.status != written[-1]:
            written.append(world.status)
    # Detected, loading or comparing, ten batches, promoted; and each analysis that changes.
    assert len(written) <= 16


def test_batches_are_spaced_by_the_interval():
    world = make_world()
    world.publish(2, 1)
    times: list[float] = []
    while world.status.stable_version != 2:
        at = world.now
        if world.step().why.reason == "BatchAdvanced" and world.decisions[-1].transition:
            times.append(at)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert all(2.0 <= gap <= 2.6 for gap in gaps), gaps


@pytest.mark.parametrize(
    ("change", "lane"),
    [
        ({}, "Delta"),
        ({"transform": "other"}, "Base"),
        ({"architecture": "other"}, "Base"),
    ],
    ids=["the same kind", "other transforms", "another architecture"],
)
def test_the_lane_follows_what_changed(change: dict[str, str], lane: str):
    world = make_world()
    world.publish(make_published(2, **change), 1)
    world.step()
    assert world.status.rollout is not None
    assert world.status.rollout.lane == lane


def test_a_version_that_does_not_descend_from_stable_takes_the_base_lane():
    world = make_world()
    world.publish(make_published(7, ref=make_ref(7, "another-line")))
    world.step()
    assert world.status.rollout is not None
    assert world.status.rollout.lane == "Base"


class TestOneBadReplicaHoldsOrEndsIt:
    """R26, of replicas, each of which holds the whole model: users get what all of them hold."""

    def test_a_replica_that_does_not_answer_holds_it(self):
        world = make_world()
        world.servers[1].answers = False
        world.publish(2, 1)
        world.run(2000)
        assert world.release.candidate == make_ref(2)
        assert world.release.advanced == 0
        assert world.condition("Progressing") == ("True", "WaitingForReplicas")
        assert "b do not say" in world.decisions[-1].why.message

    def test_a_replica_that_goes_silent_in_the_middle_stops_it_there(self):
        world = make_world()
        world.publish(2, 1)
        world.run(8)
        before = world.release.advanced
        assert 1 < before < 10
        world.servers[0].answers = False
        world.run(2000)
        assert world.release.advanced == before
        world.servers[0].answers = True
        world.run(30)
        assert world.status.stable_version == 2

    def test_a_replica_that_keeps_an_old_epoch_holds_it(self):
        world = make_world()
        world.servers[0].follows = False
        world.publish(2, 1)
        world.run(30)
        assert world.release.advanced == 0
        assert "a load version 2" in world.decisions[-1].why.message

    def test_a_replica_that_holds_it_and_lags_behind_the_release_holds_it_too(self):
        world = make_world()
        world.publish(2, 1)
        world.run(8)
        before = world.release.advanced
        assert 1 < before < 10
        world.servers[0].follows = False
        world.run(60)
        assert world.release.advanced == before + 1, "the step under way, and no further"
        world.servers[0].follows = True
        world.run(30)
        assert world.status.stable_version == 2

    def test_a_replica_that_still_compares_holds_it(self):
        world = make_world()
        world.servers[1].compares = False
        world.publish(2, 1)
        world.run(60)
        assert world.release.advanced == 0
        assert world.decisions[-1].why.message == "b compare version 2 with 1"
        world.servers[1].compares = True
        world.run(30)
        assert world.status.stable_version == 2

    @pytest.mark.parametrize("pair", [(9, 1), (2, 9)], ids=["another candidate", "another stable"])
    def test_what_was_compared_for_another_rollout_says_nothing(self, pair: tuple[int, int]):
        world = make_world()
        for server in world.servers:
            server.compares = False
            server.stale = make_shadow(make_ref(pair[0]), make_ref(pair[1]), nonfinite=5)
        world.publish(2, 1)
        world.run(20)
        assert world.release.candidate == make_ref(2)
        assert world.release.advanced == 0

    def test_a_replica_that_never_ends_comparing_ends_it_at_the_deadline(self):
        world = make_world()
        world.servers[1].compares = False
        world.publish(2, 1)
        world.run(620)
        assert world.status.quarantined[0].reason == "ProgressDeadlineExceeded"

    def test_replicas_that_get_no_requests_are_not_waited_for(self):
        world = make_world()
        world.servers.append(Server("starting", ready=False, answers=False))
        world.publish(2, 1)
        world.run(30)
        assert world.status.stable_version == 2

    def test_no_ready_replica_is_no_reason_to_go_on_or_back(self):
        world = make_world()
        for server in world.servers:
            server.ready = False
        world.publish(2, 1)
        world.run(5000)
        assert world.release.candidate == make_ref(2)
        assert world.release.advanced == 0
        assert not world.status.quarantined

    def test_a_replica_that_never_loads_it_ends_it_at_the_deadline(self):
        world = make_world()
        world.servers[0].loads = False
        world.publish(2, 1)
        world.run(590)
        assert world.release.candidate == make_ref(2)
        world.run(20)
        assert world.status.quarantined[0].reason == "ProgressDeadlineExceeded"
        assert world.release.candidate is None

    def test_a_replica_without_the_store_is_not_held_against_the_version(self):
        world = make_world()
        world.servers[0].loads = False
        world.servers[0].extra = {"store": NO_STORE}
        world.publish(2, 1)
        world.run(2000)
        assert world.release.candidate == make_ref(2)
        assert world.condition("Progressing") == ("True", "StoreUnreachable")
        assert not world.status.quarantined
        world.servers[0] = Server("a")
        world.run(40)
        assert world.status.stable_version == 2

    def test_a_refusal_takes_it_back_at_once(self):
        world = make_world()
        world.servers[1].refuses = {make_ref(2): "NonFiniteRows"}
        world.publish(2, 1)
        world.run(3)
        assert world.release.candidate is None
        assert world.release.quarantined == (make_ref(2).digest,)
        assert world.status.quarantined[0].reason == "NonFiniteRows"
        assert "b refuses it: it is bad" in world.status.quarantined[0].message

    def test_servers_that_keep_failing_with_it_take_it_back(self):
        world = make_world()
        world.publish(2, 1)
        world.step()
        world.servers[0].restarts = 1
        world.step()
        assert world.release.candidate is not None, "once may be chance"
        world.servers[0].restarts = 2
        world.step()
        assert world.release.candidate is None
        assert world.status.quarantined[0].reason == "ReplicasFailing"


BAD = {
    "a non-finite score": ({"nonfinite": 1}, "NonFiniteScores"),
    "many errors": ({"errors": 100}, "ErrorRatioExceeded"),
    "scores elsewhere": ({"score_mean": 0.9}, "ScoreShiftExceeded"),
    "slow answers": ({"latency_ms_p99": 90.0}, "LatencyRatioExceeded"),
}


@pytest.mark.parametrize(("fields", "reason"), BAD.values(), ids=BAD)
def test_bad_counters_take_it_back_at_batch_one(fields: dict[str, float], reason: str):
    world = make_world()
    for server in world.servers:
        server.tried = make_counters(**fields)
    world.publish(2, 1)
    began = world.now
    while world.release.candidate is not None or not world.status.quarantined:
        world.step()
        assert world.release.advanced <= 1
        assert world.now - began < 5
    assert world.status.quarantined[0].reason == reason
    assert world.status.stable_version == 1
    assert world.condition("RolledBack") == ("True", "RollbackInProgress")
    world.step()
    assert world.condition("RolledBack") == ("True", "RollbackCompleted")
    assert world.condition("Ready")[0] == "True"


@pytest.mark.parametrize(
    ("shadow", "reason"),
    [
        ({"nonfinite": 3}, "NonFiniteScores"),
        ({"mean_shift": -1.5}, "ScoreShiftExceeded"),
        ({"correlation": -0.9}, "ScoreCorrelationLow"),
        ({"default_ratio": 0.9, "stable_default_ratio": 0.2}, "DefaultRatioExceeded"),
    ],
)
def test_a_bad_shadow_takes_it_back_before_a_user_sees_it(shadow: dict[str, float], reason: str):
    world = make_world()
    for server in world.servers:
        server.shadow = shadow
    world.publish(2, 1)
    world.run(5)
    assert world.status.quarantined[0].reason == reason
    assert all(each.state.release.advanced == 0 for each in world.decisions)


class TestWhenEveryVersionIsUnlikeStable:
    """Taste has moved, or the events are wrong: learning them again leads to the same."""

    @staticmethod
    def world(shadow: dict[str, float]) -> World:
        """Stable is 1; versions 2 and 3 were learned on it in turn and taken back for `shadow`."""
        world = make_world()
        for server in world.servers:
            server.shadow = shadow
        for version in (2, 3):
            world.publish(version, 1)
            world.run(5)
        assert [each.version for each in world.status.quarantined] == [3, 2]
        return world

    def test_the_third_is_held_before_users_and_not_against_it(self):
        world = self.world({"correlation": -0.9})
        world.publish(4, 1)
        world.run(2000)
        assert [each.version for each in world.status.quarantined] == [3, 2]
        assert world.status.candidate_version == 4
        assert world.release.advanced == 0
        assert world.condition("Progressing") == ("True", "DiffersAgain")
        assert world.condition("AnalysisHealthy") == ("False", "ScoreCorrelationLow")

    def test_a_newer_one_takes_its_place_and_passes_when_it_is_like_stable(self):
        world = self.world({"mean_shift": 3.0})
        world.publish(4, 1)
        world.run(5)
        world.publish(5, 1)
        world.run(2)
        assert world.status.candidate_version == 5
        assert [each.version for each in world.status.superseded] == [4]
        for server in world.servers:
            server.shadow = {}
        world.run(100)
        assert world.status.stable_version == 5

    def test_it_goes_on_by_itself_once_the_limits_are_wide_enough(self):
        world = self.world({"mean_shift": 3.0})
        world.publish(4, 1)
        world.run(5)
        world.spec = make_serving_spec(rollout={"delta": {"maxScoreShift": 5}})
        world.run(100)
        assert world.status.stable_version == 4

    def test_another_kind_of_fault_is_still_taken_back(self):
        world = self.world({"correlation": -0.9})
        for server in world.servers:
            server.shadow = {"nonfinite": 3}
        world.publish(4, 1)
        world.run(5)
        assert world.status.quarantined[0].version == 4

    def test_a_good_version_ends_the_row(self):
        world = self.world({"correlation": -0.9})
        for server in world.servers:
            server.shadow = {}
        world.publish(4, 1)
        world.run(100)
        assert world.status.stable_version == 4
        for server in world.servers:
            server.shadow = {"correlation": -0.9}
        world.publish(5, 4)
        world.run(5)
        assert world.status.quarantined[0].version == 5


def test_small_delays_do_not_add_up():
    """Every look comes 0.3 s late; ten batches still take twenty seconds."""
    world = make_world()
    world.publish(2, 1)
    while world.release.advanced == 0:
        world.step()
    began = world.now
    while world.release.advanced < 10:
        world.step()
        world.now += 0.3
    assert world.now - began < 9 * 2 + 1.2


def test_a_long_delay_is_not_made_up_for():
    """Batches that were missed while something was away do not come all at once."""
    world = make_world()
    world.publish(2, 1)
    while world.release.advanced == 0:
        world.step()
    world.now += 60
    world.step()
    assert world.release.advanced == 2
    world.step()
    world.step()
    assert world.release.advanced == 2


class TestTooLittleData:
    def test_too_few_requests_hold_it_after_the_first_batch(self):
        world = make_world()
        for server in world.servers:
            server.tried = make_counters(requests=4)
        world.publish(2, 1)
        world.run(500)
        assert world.status.batch == "1/10"
        assert world.condition("AnalysisHealthy") == ("Unknown", "AnalysisInconclusive")
        for server in world.servers:
            server.tried = make_counters(requests=5)
        world.run(30)
        assert world.status.stable_version == 2

    def test_it_is_held_for_as_long_as_there_is_nothing_newer(self):
        world = make_world()
        for server in world.servers:
            server.tried = make_counters(requests=0)
        world.publish(2, 1)
        world.run(5000)
        assert world.status.candidate_version == 2
        assert not world.status.quarantined

    def test_after_the_deadline_a_newer_one_takes_its_place(self):
        world = make_world()
        for server in world.servers:
            server.tried = make_counters(requests=0)
        world.publish(2, 1)
        world.run(300)
        world.publish(3, 2, 1)
        world.run(250)
        assert (world.status.candidate_version, world.status.pending_version) == (2, 3)
        world.run(100)
        assert world.status.candidate_version == 3
        assert not world.status.quarantined
        assert 2 in [each.version for each in world.status.superseded]

    def test_the_wait_does_not_tick_in_the_status(self):
        world = make_world()
        for server in world.servers:
            server.tried = make_counters(requests=0)
        world.publish(2, 1)
        world.run(60)
        before = world.status
        for requests in range(1, 5):
            world.servers[0].tried = make_counters(requests=requests)
            world.step()
        assert world.status == before


class TestAStreamOfVersions:
    def test_the_newest_waiting_version_goes_next_and_others_are_passed_over(self):
        world = make_world()
        world.publish(2, 1)
        world.run(4)
        world.publish(4, 3, 2, 1)
        world.step()
        assert (world.status.candidate_version, world.status.pending_version) == (2, 4)
        while world.status.stable_version != 2:
            world.step()
        world.publish(4, 3, 2)
        world.run(30)
        assert world.status.stable_version == 4
        assert [each.version for each in world.status.superseded] == [3]

    def test_three_promoted_versions_stay_warm(self):
        world = make_world()
        for version in range(2, 7):
            world.publish(version, version - 1)
            world.run(30)
        assert world.status.stable_version == 6
        assert world.release.hold == (make_ref(5), make_ref(4))
        assert [each.version for each in world.status.history] == [6, 5, 4, 3, 2, 1]

    def test_failed_candidates_do_not_push_out_promoted_ones(self):
        world = make_world()
        world.publish(2, 1)
        world.run(30)
        for version in (3, 4, 5):
            for server in world.servers:
                server.refuses[make_ref(version)] = "DigestMismatch"
            # The trainer goes on from what is good each time.
            world.publish(version, 2)
            world.run(5)
        assert world.status.stable_version == 2
        assert world.release.hold == (make_ref(1),)
        assert [each.version for each in world.status.quarantined] == [5, 4, 3]

    def test_the_salt_is_new_in_each_rollout(self):
        world = make_world()
        salts = set()
        for version in range(2, 5):
            world.publish(version, version - 1)
            world.step()
            salts.add(world.release.salt)
            world.run(30)
        assert len(salts) == 3


class TestQuarantine:
    def bad(self, version: int = 2):
        world = make_world()
        for server in world.servers:
            server.refuses = {make_ref(version): "NonFiniteRows"}
        world.publish(version, 1)
        world.run(3)
        assert world.status.quarantined
        world.decisions.clear()
        return world

    def test_it_is_not_tried_again(self):
        world = self.bad()
        world.run(100)
        assert world.reasons == []
        assert world.condition("Progressing") == ("False", "LineageBlocked")

    def test_nor_is_what_was_learned_on_it(self):
        world = self.bad()
        world.publish(3, 2, 1)
        world.run(10)
        assert world.release.candidate is None
        assert "learned on version 2" in world.decisions[-1].why.message

    def test_one_learned_without_it_goes_on(self):
        world = self.bad()
        world.publish(3, 1)
        world.run(30)
        assert world.status.stable_version == 3
        assert world.condition("RolledBack") == ("False", "NoRollback")

    def test_a_good_one_before_it_that_was_passed_over_is_taken(self):
        world = make_world()
        for server in world.servers:
            server.refuses = {make_ref(3): "NonFiniteRows"}
        world.publish(3, 2, 1)
        world.run(60)
        assert world.status.stable_version == 2

    def test_another_line_that_holds_it_is_blocked_too(self):
        world = self.bad()
        other = make_published(9, ref=make_ref(9, "another-line"))
        world.publish(other, make_published(2))
        world.run(10)
        assert world.release.candidate is None


class TestAwayStore:
    def test_a_rollout_goes_on_without_it(self):
        world = make_world()
        world.publish(2, 1)
        world.run(4)
        world.store = AWAY
        world.run(30)
        assert world.status.stable_version == 2
        assert world.condition("StoreReachable") == ("False", "Unreachable")
        assert world.condition("Ready")[0] == "True"

    def test_so_does_a_rollback(self):
        world = make_world()
        world.publish(2, 1)
        world.run(8)
        assert world.release.advanced > 1
        world.store = AWAY
        for server in world.servers:
            server.tried = make_counters(errors=300)
        world.step()
        assert world.release.candidate is None


class TestAPersonsWish:
    def promoted(self):
        world = make_world()
        for version in (2, 3):
            world.publish(version, version - 1)
            world.run(30)
        world.decisions.clear()
        return world

    def test_rolling_back_is_one_step_and_needs_no_store(self):
        world = self.promoted()
        world.store = AWAY
        world.rollback_to = "2"
        world.step()
        assert world.release.stable == make_ref(2)
        assert world.release.mode == "Pinned"
        assert world.condition("RolledBack") == ("True", "Pinned")
        assert world.release.hold == (make_ref(3), make_ref(1)), "forward is as quick"

    def test_it_works_with_silent_replicas(self):
        world = self.promoted()
        for server in world.servers:
            server.answers = False
        world.rollback_to = "1"
        world.step()
        assert world.release.stable == make_ref(1)

    def test_versions_rolled_back_from_are_not_quarantined(self):
        world = self.promoted()
        world.rollback_to = "1"
        world.run(5)
        assert not world.status.quarantined

    def test_but_the_candidate_under_way_is(self):
        world = self.promoted()
        world.publish(4, 3)
        world.run(6)
        assert world.release.candidate == make_ref(4)
        world.rollback_to = "2"
        world.step()
        assert world.release.stable == make_ref(2)
        assert world.release.candidate is None
        assert [each.version for each in world.status.quarantined] == [4]

    def test_nothing_rolls_out_while_the_wish_stands(self):
        world = self.promoted()
        world.rollback_to = "2"
        world.run(5)
        world.publish(4, 3, 2)
        world.run(60)
        assert world.status.stable_version == 2
        assert world.status.phase == "Pinned"

    def test_taking_it_out_lets_the_newest_roll_out_again(self):
        world = self.promoted()
        world.rollback_to = "2"
        world.run(5)
        world.rollback_to = None
        world.publish(4, 3, 2)
        world.run(40)
        assert world.status.stable_version == 4
        assert world.release.mode == "Steady"

    def test_back_and_forth_and_on(self):
        """A, B, back to A, forward to B, on to C."""
        world = self.promoted()
        for asked in ("2", "3"):
            world.rollback_to = asked
            world.run(3)
            assert world.status.stable_version == int(asked)
        world.rollback_to = None
        world.publish(4, 3)
        world.run(40)
        assert world.status.stable_version == 4

    @pytest.mark.parametrize("asked", ["", "two", "-1", "2.0", "²", "9" * 5000])
    def test_what_is_no_number_is_said_to_be_none(self, asked: str):
        world = self.promoted()
        world.rollback_to = asked
        world.step()
        assert world.decisions[-1].why.reason == Reason.UNKNOWN_VERSION
        assert "known are 1, 2, 3" in world.decisions[-1].why.message

    def test_an_unknown_number_holds_everything_and_names_the_known(self):
        world = self.promoted()
        world.rollback_to = "99"
        world.publish(4, 3)
        world.run(20)
        assert world.release.candidate is None
        assert (
            "version 99, which is not there; known are 1, 2, 3" in world.decisions[-1].why.message
        )

    def test_a_quarantined_version_cannot_be_had(self):
        world = self.promoted()
        for server in world.servers:
            server.refuses = {make_ref(4): "NonFiniteRows"}
        world.publish(4, 3)
        world.run(3)
        world.rollback_to = "4"
        world.store = make_store(4, 3, asked=4)
        world.run(3)
        assert world.status.stable_version == 3
        assert world.decisions[-1].why.reason == Reason.QUARANTINED_VERSION

    def test_a_pin_does_the_same_and_withdraws_the_candidate(self):
        world = self.promoted()
        world.publish(4, 3)
        world.run(6)
        world.spec = make_serving_spec(versionPolicy={"pin": 2})
        world.step()
        assert world.release.stable == make_ref(2)
        assert not world.status.quarantined
        assert world.status.superseded[0].version == 4

    def test_pinning_the_candidate_promotes_it(self):
        world = self.promoted()
        world.publish(4, 3)
        world.run(6)
        world.spec = make_serving_spec(versionPolicy={"pin": 4})
        world.run(2)
        assert world.release.stable == make_ref(4)
        assert world.release.candidate is None

    def test_a_version_that_nobody_holds_is_fetched_first(self):
        world = self.promoted()
        for version in (4, 5, 6):
            world.publish(version, version - 1)
            world.run(30)
        assert make_ref(2) not in world.release.wanted()
        for server in world.servers:
            server.loads = False
        world.spec = make_serving_spec(versionPolicy={"pin": 2})
        world.run(10)
        assert world.release.stable == make_ref(6)
        assert world.release.hold[0] == make_ref(2)
        for server in world.servers:
            server.held.add(make_ref(2))
        world.run(2)
        assert world.release.stable == make_ref(2)

    def test_a_version_that_servers_refuse_cannot_be_had(self):
        world = make_world(stable=5)
        for server in world.servers:
            server.refuses = {make_ref(3): "LineageBroken"}
        world.spec = make_serving_spec(versionPolicy={"pin": 3})
        world.store = make_store(5, asked=3)
        world.run(5)
        assert world.release.stable == make_ref(5)
        assert world.decisions[-1].why.reason == Reason.VERSION_REFUSED
        assert "a refuses version 3: it is bad" in world.decisions[-1].why.message

    def test_a_version_known_only_to_the_store_can_be_pinned(self):
        world = make_world(stable=5)
        world.spec = make_serving_spec(versionPolicy={"pin": 3})
        world.store = make_store(5, asked=3)
        world.run(3)
        assert world.release.stable == make_ref(3)

    def test_a_bad_candidate_goes_even_while_an_impossible_wish_stands(self):
        world = self.promoted()
        world.publish(4, 3)
        world.run(6)
        world.rollback_to = "nonsense"
        for server in world.servers:
            server.tried = make_counters(nonfinite=5)
        world.step()
        assert world.release.candidate is None

    def test_the_annotation_wins_over_the_pin(self):
        world = self.promoted()
        world.spec = make_serving_spec(versionPolicy={"pin": 3})
        world.rollback_to = "1"
        world.run(2)
        assert world.status.stable_version == 1


def test_one_batch_means_everybody_at_once_after_the_shadow():
    spec = make_serving_spec(rollout={"delta": {"batches": 1}})
    world = make_world(spec=spec)
    world.publish(2, 1)
    world.run(8)
    assert world.status.stable_version == 2


def test_an_older_version_in_the_channel_is_not_rolled_out():
    world = make_world(stable=5)
    world.publish(4, 3)
    world.run(10)
    assert world.release.candidate is None
