"""What a rollout remembers, and the few ways in which that changes.

All of it is kept in the status of the RecServing. Every function takes a state and returns the
next one; a change of the release raises its epoch by one, so that replicas, which follow the
highest epoch they have seen, can never fall back to an older decision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from millstream_api.conditions import MESSAGE_LIMIT, Reason
from millstream_api.recserving import (
    HISTORY_LIMIT,
    QUARANTINE_LIMIT,
    SUPERSEDED_LIMIT,
    PromotedVersion,
    QuarantinedVersion,
    RolloutStatus,
    SupersededVersion,
)
from millstream_api.resources import at

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_api.recserving import Lane, Phase
    from millstream_api.release import Mode, Release
    from millstream_operator.decide.observed import Finding, Observed, Published


@dataclass(frozen=True)
class State:
    """A release and what has to be known to go on from it."""

    release: Release
    rollout: RolloutStatus | None = None  # set exactly while there is a candidate
    history: tuple[PromotedVersion, ...] = ()
    quarantined: tuple[QuarantinedVersion, ...] = ()
    superseded: tuple[SupersededVersion, ...] = ()

    @property
    def phase(self) -> Phase:
        """Where the rollout is, in one word."""
        release = self.release
        if release.mode == "Pinned":
            return "Pinned"
        if release.stable is None:
            return "Pending" if release.candidate is None else "Loading"
        if release.candidate is None:
            return "Steady"
        return "Shadow" if release.mode == "Shadow" else "Gray"


def recalled(observed: Observed, now: float) -> State:
    """The state to go on from, completed where only the release survived."""
    status, release = observed.status, observed.release
    listed = {entry.digest for entry in status.quarantined}
    lost = tuple(
        QuarantinedVersion(
            version=status.candidate_version or 0,
            digest=digest,
            reason=Reason.ROLLBACK_COMPLETED,
            message="taken back while the status could not be written",
            at=at(now),
        )
        for digest in release.quarantined
        if digest not in listed
    )
    rollout = None
    if release.candidate is not None:
        rollout = status.rollout or _new_rollout("Base", observed, None, now)
    return State(
        release=release,
        rollout=rollout,
        history=status.history,
        quarantined=(*lost, *status.quarantined)[:QUARANTINE_LIMIT],
        superseded=status.superseded,
    )


def release_changed(state: State, **fields: Any) -> State:
    """The state with another release, one epoch later."""
    release = state.release.changed(
        **fields,
        epoch=state.release.epoch + 1,
        quarantined=tuple(entry.digest for entry in state.quarantined),
    )
    return replace(state, release=release)


def begun(
    state: State,
    version: Published,
    lane: Lane,
    batches: int,
    passed_over: tuple[VersionRef, ...],
    observed: Observed,
    now: float,
) -> State:
    """The version is candidate: replicas load it, no user gets it yet.

    The salt holds the epoch too, so that a version that is tried again is counted afresh.
    """
    before = replace(
        _superseded(state, passed_over, now), rollout=_new_rollout(lane, observed, version, now)
    )
    return release_changed(
        before,
        candidate=version.ref,
        salt=f"{observed.uid}:{version.ref.version}:{state.release.epoch + 1}",
        batches=batches,
        advanced=0,
        mode="Shadow",
    )


def advanced(state: State, now: float) -> State:
    """One more batch of users gets the candidate."""
    assert state.rollout is not None
    rollout = _renewed(state.rollout, advanced_at=at(now), waiting_for="", waiting_since=at(now))
    return release_changed(
        replace(state, rollout=rollout), advanced=state.release.advanced + 1, mode="Gray"
    )


def waiting(state: State, reason: str, now: float) -> State:
    """The rollout waits, for this reason since the reason was first met."""
    if state.rollout is None or state.rollout.waiting_for == reason:
        return state
    rollout = _renewed(state.rollout, waiting_for=reason, waiting_since=at(now))
    return replace(state, rollout=rollout)


def promoted(
    state: State,
    ref: VersionRef,
    watermark: float | None,
    keep: int,
    now: float,
    mode: Mode = "Steady",
) -> State:
    """The version is what all users get; those before it stay warm.

    Args:
        state: the state before.
        ref: the version.
        watermark: of the version, Unix seconds.
        keep: how many promoted versions replicas hold, this one among them.
        now: Unix seconds.
        mode: Pinned where a person chose it.
    """
    release = state.release
    entry = PromotedVersion(
        lineage=ref.lineage,
        version=ref.version,
        digest=ref.digest,
        promoted_at=at(now),
        watermark=None if watermark is None else at(watermark),
    )
    history = (entry, *(known for known in state.history if known.digest != ref.digest))
    before = () if release.stable is None else (release.stable,)
    hold = tuple(known for known in (*before, *release.hold) if known != ref)
    return release_changed(
        replace(state, rollout=None, history=history[:HISTORY_LIMIT]),
        stable=ref,
        candidate=None,
        advanced=0,
        hold=hold[: keep - 1],
        mode=mode,
    )


def quarantined(state: State, fault: Finding, now: float) -> State:
    """The candidate is taken back and remembered as bad."""
    candidate = state.release.candidate
    assert candidate is not None
    entry = QuarantinedVersion(
        version=candidate.version,
        digest=candidate.digest,
        reason=fault.reason,
        message=fault.message[:MESSAGE_LIMIT],
        at=at(now),
    )
    listed = (entry, *state.quarantined)[:QUARANTINE_LIMIT]
    return release_changed(
        replace(state, quarantined=listed, rollout=None),
        candidate=None,
        advanced=0,
        mode="Steady",
    )


def withdrawn(state: State, now: float) -> State:
    """The candidate makes way for another version; nothing is held against it."""
    candidate = state.release.candidate
    assert candidate is not None
    return release_changed(
        replace(_superseded(state, (candidate,), now), rollout=None),
        candidate=None,
        advanced=0,
        mode="Steady",
    )


def warmed(state: State, ref: VersionRef, keep: int) -> State:
    """Replicas fetch the version without anybody getting it yet."""
    hold = (ref, *(known for known in state.release.hold if known != ref))[:keep]
    return release_changed(
        replace(state, rollout=None), candidate=None, advanced=0, hold=hold, mode="Steady"
    )


def _superseded(state: State, refs: tuple[VersionRef, ...], now: float) -> State:
    known = {entry.digest for entry in state.superseded}
    entries = tuple(
        SupersededVersion(version=ref.version, digest=ref.digest, at=at(now))
        for ref in refs
        if ref.digest not in known
    )
    return replace(state, superseded=(*entries, *state.superseded)[:SUPERSEDED_LIMIT])


def _new_rollout(
    lane: Lane, observed: Observed, version: Published | None, now: float
) -> RolloutStatus:
    watermark = None if version is None else version.watermark
    return RolloutStatus(
        lane=lane,
        started_at=at(now),
        advanced_at=at(now),
        waiting_since=at(now),
        restarts=sum(replica.restarts for replica in observed.replicas),
        watermark=None if watermark is None else at(watermark),
    )


def _renewed(rollout: RolloutStatus, **fields: Any) -> RolloutStatus:
    return rollout.model_copy(update=fields)
