"""What a rollout remembers: bounded, and complete again when a part was lost."""

from __future__ import annotations

from millstream_api.recserving import (
    HISTORY_LIMIT,
    QUARANTINE_LIMIT,
    SUPERSEDED_LIMIT,
    RecServingStatus,
)
from millstream_api.release import Release
from millstream_operator.decide import states
from millstream_operator.decide.observed import Finding, Observed
from millstream_operator.decide.states import State
from tests.builders.operator import UID, make_published
from tests.builders.resources import make_ref

NOW = 1_800_000_000.0
FAULT = Finding("NonFiniteRows", "bad rows")


def make_observed(release: Release, status: RecServingStatus | None = None) -> Observed:
    return Observed(uid=UID, status=status or RecServingStatus(), release=release)


def begin(state: State, version: int) -> State:
    passed = tuple(make_ref(version * 100 + number) for number in range(3))
    observed = make_observed(state.release)
    return states.begun(state, make_published(version), "Delta", 10, passed, observed, NOW)


def test_everything_remembered_is_bounded():
    state = State(Release())
    for version in range(1, 100):
        state = states.promoted(begin(state, version), make_ref(version), None, 3, NOW)
        state = states.quarantined(begin(state, version + 1000), FAULT, NOW)
    assert len(state.history) == HISTORY_LIMIT
    assert len(state.quarantined) == QUARANTINE_LIMIT
    assert len(state.release.quarantined) == QUARANTINE_LIMIT
    assert len(state.superseded) == SUPERSEDED_LIMIT
    assert state.release.hold == (make_ref(98), make_ref(97))
    assert state.quarantined[0].version == 1099, "the newest come first"


def test_every_change_of_the_release_raises_the_epoch_by_one():
    state = begin(State(Release(epoch=7)), 1)
    epochs = [state.release.epoch]
    for change in (
        lambda each: states.advanced(each, NOW),
        lambda each: states.withdrawn(each, NOW),
        lambda each: states.warmed(each, make_ref(9), 3),
        lambda each: states.promoted(each, make_ref(9), None, 3, NOW),
    ):
        state = change(state)
        epochs.append(state.release.epoch)
    assert epochs == [8, 9, 10, 11, 12]


def test_waiting_changes_no_release_and_keeps_since_when():
    state = begin(State(Release()), 1)
    first = states.waiting(state, "Loading", NOW + 1)
    again = states.waiting(first, "Loading", NOW + 50)
    assert again == first
    assert again.release == state.release
    other = states.waiting(again, "Shadowing", NOW + 60)
    assert other.rollout is not None
    assert other.rollout.waiting_since.timestamp() == NOW + 60


def test_a_version_that_is_tried_again_has_a_salt_of_its_own():
    first = begin(State(Release()), 5)
    again = begin(states.withdrawn(first, NOW), 5)
    assert first.release.salt != again.release.salt
    assert first.release.salt.startswith(f"{UID}:5:")


def test_a_version_promoted_again_is_in_the_history_once():
    state = State(Release())
    for version in (1, 2, 1):
        state = states.promoted(begin(state, version), make_ref(version), None, 3, NOW)
    assert [entry.version for entry in state.history] == [1, 2]
    assert state.release.hold == (make_ref(2),)


def test_a_version_passed_over_twice_is_listed_once():
    state = State(Release())
    for _ in range(3):
        state = states.withdrawn(begin(state, 4), NOW)
    assert [entry.version for entry in state.superseded].count(4) == 1


class TestRecalling:
    def test_all_is_in_the_status(self):
        state = states.quarantined(begin(State(Release()), 2), FAULT, NOW)
        status = RecServingStatus(
            release=state.release, quarantined=state.quarantined, superseded=state.superseded
        )
        assert states.recalled(make_observed(state.release, status), NOW) == state

    def test_a_rollback_that_only_the_servers_know_of_is_remembered(self):
        """The status could not be written when the candidate was taken back."""
        before = begin(State(Release()), 2)
        after = states.quarantined(before, FAULT, NOW)
        status = RecServingStatus(
            release=before.release, rollout=before.rollout, candidate_version=2
        )
        found = states.recalled(make_observed(after.release, status), NOW)
        assert [(each.version, each.digest) for each in found.quarantined] == [
            (2, make_ref(2).digest)
        ]
        assert found.rollout is None

    def test_a_candidate_without_a_record_goes_on_carefully(self):
        release = begin(State(Release()), 2).release
        found = states.recalled(make_observed(release), NOW)
        assert found.rollout is not None
        assert found.rollout.lane == "Base"
        assert found.rollout.advanced_at.timestamp() == NOW
