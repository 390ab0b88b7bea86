"""The rollout: which release is in force next, and why.

                      newest version                 all shadows pass
    Steady ──────────────────────────► Shadow ──────────────────────► Gray 1/n
      ▲ ▲                                │                              │ interval over, replicas
      │ │ nothing to compare with yet:   │ refused, worse, or stuck     │ report it, counters good
      │ └─── promoted when loaded ───────┤                              ▼
      │                                  │                            Gray n/n ──► promoted: stable
      └── rolled back: quarantined ◄─────┴──────────────────────────────┘
    a person asks for a version: it is stable at once (Pinned) until the wish is taken back

One ladder, first rung that applies wins: a bad candidate is taken back before anything else is
looked at; then a person's wish; then the rollout under way; then the next version. Everything a
rollout needs to go on is in the status, so deciding again after a restart, or twice on the same
world, gives the same release. Only good news moves a candidate forward, and all of it has to be
there: every replica that gets requests reports the release in force. Bad news from one suffices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from millstream_api.conditions import Reason
from millstream_operator.decide import states
from millstream_operator.decide.candidates import decide_next
from millstream_operator.decide.faults import UNLIKE_IN_A_ROW, find_fault, judged, lane_of
from millstream_operator.decide.observed import Finding, names_of
from millstream_operator.decide.verdicts import Verdict
from millstream_operator.decide.wishes import decide_wish

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_api.recserving import RecServingSpec
    from millstream_operator.decide.candidates import Next
    from millstream_operator.decide.observed import Observed, Replica
    from millstream_operator.decide.states import State
    from millstream_operator.decide.wishes import Wish

LOOK_AGAIN_SECONDS: Final = 0.5  # while a rollout waits for replicas
LOOK_OFTEN_SECONDS: Final = 30.0  # how long it is looked at so often
PUNCTUAL_SECONDS: Final = 1.0  # a batch that comes this late is on time

# Waiting for these is the candidate's doing; for others (nobody answers, the store is away, too
# few requests) it may be anybody's, and a version is not taken back for it.
_COUNTS_AGAINST: Final = frozenset({Reason.LOADING, Reason.SHADOWING})


@dataclass(frozen=True)
class RolloutDecision:
    """What comes next and why; also when nothing does."""

    state: State
    why: Finding
    wake_after: float  # seconds until it is worth looking again
    transition: bool = False  # the release changes: worth an event
    urgent: bool = False  # users are to get an older version, even if that cannot be remembered
    analysis: Verdict | None = None  # of the candidate, where there is one
    pending: VersionRef | None = None  # waits for the rollout to end


def decide_rollout(observed: Observed, now: float, spec: RecServingSpec) -> RolloutDecision:
    """The release that should be in force.

    Args:
        observed: the RecServing and its world.
        now: Unix seconds.
        spec: what is asked.
    """
    state = states.recalled(observed, now)
    analysis = judged(observed, state, spec)
    fault = find_fault(observed, state, analysis)
    if fault is not None:
        return _rolled_back(state, fault, now)

    wish = decide_wish(observed, state, spec.version_policy.pin)
    if wish is not None:
        return _granted(state, wish, now, spec)
    if state.release.mode == "Pinned":
        why = Finding(Reason.AS_ASKED, "no version is asked for any more; new ones roll out again")
        freed = states.release_changed(state, mode="Steady")
        return RolloutDecision(freed, why, wake_after=0.0, transition=True)

    release = state.release
    coming = decide_next(observed.store, release.stable, release.quarantined)
    if release.candidate is None:
        if coming.version is None:
            return RolloutDecision(state, coming.why, spec.version_policy.poll_seconds)
        return _begun(observed, state, coming, now, spec)
    newer = coming.version is not None and coming.version.ref != release.candidate
    decision = _carried_on(observed, state, analysis, now, spec)
    if not decision.transition:
        decision = _cut_short(observed, decision, coming if newer else None, now, spec)
    pending = coming.version.ref if newer and coming.version is not None else None
    return replace(decision, pending=pending)


def _rolled_back(state: State, fault: Finding, now: float) -> RolloutDecision:
    candidate, stable = state.release.candidate, state.release.stable
    back = f"; all users get {stable}" if stable is not None else ""
    why = Finding(fault.reason, f"version {candidate} was taken back: {fault.message}{back}")
    return RolloutDecision(
        states.quarantined(state, fault, now),
        why,
        wake_after=0.0,
        transition=True,
        urgent=True,
        analysis=Verdict("Failed", fault),
    )


# A person's wish


def _granted(state: State, wish: Wish, now: float, spec: RecServingSpec) -> RolloutDecision:
    release, target = state.release, wish.target
    settled = release.stable == target and release.mode == "Pinned" and release.candidate is None
    if target is None or settled:
        held = states.waiting(state, wish.why.reason, now)
        return RolloutDecision(held, wish.why, spec.version_policy.poll_seconds)
    loading = not wish.warm and target in release.hold
    if loading and release.candidate is None:
        return RolloutDecision(state, wish.why, LOOK_AGAIN_SECONDS)

    if release.candidate not in {None, target}:
        if wish.accuses:
            fault = Finding(Reason.TAKEN_BACK, f"a person went back to version {target}")
            state = states.quarantined(state, fault, now)
        else:
            state = states.withdrawn(state, now)
    keep = spec.rollout.revision_history_limit
    if wish.warm:
        state = states.promoted(state, target, wish.watermark, keep, now, mode="Pinned")
    else:
        state = states.warmed(state, target, keep)
    return RolloutDecision(state, wish.why, wake_after=0.0, transition=True, urgent=wish.accuses)


# The rollout under way


def _begun(
    observed: Observed, state: State, coming: Next, now: float, spec: RecServingSpec
) -> RolloutDecision:
    assert coming.version is not None
    lane = spec.rollout.delta if coming.lane == "Delta" else spec.rollout.base
    begun = states.begun(
        state, coming.version, coming.lane, lane.batches, coming.passed_over, observed, now
    )
    return RolloutDecision(begun, coming.why, LOOK_AGAIN_SECONDS, transition=True)


def _carried_on(
    observed: Observed,
    state: State,
    analysis: Verdict | None,
    now: float,
    spec: RecServingSpec,
) -> RolloutDecision:
    """One step forward if everything allows it, else what it waits for."""
    release, rollout = state.release, state.rollout
    candidate = release.candidate
    assert candidate is not None
    assert rollout is not None
    keep = spec.rollout.revision_history_limit
    watermark = None if rollout.watermark is None else rollout.watermark.timestamp()

    def wait(why: Finding) -> RolloutDecision:
        waiting = states.waiting(state, why.reason, now)
        assert waiting.rollout is not None
        long = now - waiting.rollout.waiting_since.timestamp() > LOOK_OFTEN_SECONDS
        again = spec.version_policy.poll_seconds if long else LOOK_AGAIN_SECONDS
        return RolloutDecision(waiting, why, again, analysis=analysis)

    def step(after: State, why: Finding, wake_after: float = LOOK_AGAIN_SECONDS) -> RolloutDecision:
        return RolloutDecision(after, why, wake_after, transition=True, analysis=analysis)

    # The first version: whoever answers serves it as soon as they hold it.
    asked = observed.ready if release.stable is not None else observed.answering
    missing = _missing(asked, release.epoch, candidate)
    if missing is not None:
        return wait(missing)
    promoted = Finding(Reason.VERSION_PROMOTED, f"all users get version {candidate}")
    if release.stable is None:
        return step(states.promoted(state, candidate, watermark, keep, now), promoted, 0.0)

    lane = lane_of(state, spec)
    if release.mode == "Shadow":
        pair = (candidate.digest, release.stable.digest)
        pending = tuple(each for each in asked if each.shadow_of(pair) is None)
        if pending:
            return wait(
                Finding(
                    Reason.SHADOWING,
                    f"{names_of(pending)} compare version {candidate} with {release.stable}",
                )
            )
        assert analysis is not None  # there is a stable version to compare with
        if analysis.outcome == "Failed":
            told = (
                f"{analysis.finding.message}; the {UNLIKE_IN_A_ROW} versions before it were taken"
                " back for that and learned anew. If users' taste has moved so far, raise"
                " maxScoreShift, maxGoldenAucDrop or maxDefaultRatio, or lower minScoreCorrelation,"
                " in spec.rollout until a version has passed; if not, look at the trainer's events"
            )
            return wait(Finding(Reason.DIFFERS_AGAIN, told))
        return step(states.advanced(state, now), _reached(candidate, 1, release.batches))

    due = rollout.advanced_at.timestamp() + lane.interval_seconds
    if now < due:
        why = _reached(candidate, release.advanced, release.batches)
        return RolloutDecision(state, why, min(due - now, LOOK_AGAIN_SECONDS), analysis=analysis)
    assert analysis is not None  # there is a stable version to compare with
    if analysis.outcome != "Passed":
        return wait(analysis.finding)
    if release.advanced < release.batches:
        further = _reached(candidate, release.advanced + 1, release.batches)
        # Counted from when it was due, or a little delay at each batch would add up.
        on_time = now - due < PUNCTUAL_SECONDS
        return step(states.advanced(state, due if on_time else now), further)
    return step(states.promoted(state, candidate, watermark, keep, now), promoted, 0.0)


def _reached(candidate: VersionRef, batches: int, of: int) -> Finding:
    return Finding(Reason.BATCH_ADVANCED, f"version {candidate} is with {batches} of {of} batches")


def _missing(asked: tuple[Replica, ...], epoch: int, candidate: VersionRef) -> Finding | None:
    """Which replicas are not where they have to be before the next step."""
    if not asked:
        return Finding(Reason.WAITING_FOR_REPLICAS, "no server is ready")
    silent = tuple(each for each in asked if each.report is None)
    if silent:
        return Finding(
            Reason.WAITING_FOR_REPLICAS, f"{names_of(silent)} do not say which release they serve"
        )
    behind = tuple(
        each
        for each in asked
        if each.report is not None and (each.report.epoch < epoch or not each.holds(candidate))
    )
    if not behind:
        return None
    if any(each.report is not None and not each.report.store.ok for each in behind):
        return Finding(
            Reason.STORE_UNREACHABLE, f"{names_of(behind)} cannot reach the store for {candidate}"
        )
    return Finding(Reason.LOADING, f"{names_of(behind)} load version {candidate}")


def _cut_short(
    observed: Observed,
    decision: RolloutDecision,
    coming: Next | None,
    now: float,
    spec: RecServingSpec,
) -> RolloutDecision:
    """End a rollout that has waited past its deadline, where that is right.

    Too few requests hold a candidate for as long as there is no newer version; after the
    deadline the newer one takes its place, since nothing was learned of this one anyway. One that
    is unlike stable like others before it makes way at once: the newer may be like stable again.
    """
    state, limit = decision.state, spec.rollout.progress_deadline_seconds
    rollout = state.rollout
    if rollout is not None and rollout.waiting_for == Reason.DIFFERS_AGAIN and coming is not None:
        return _begun(observed, states.withdrawn(state, now), coming, now, spec)
    if rollout is None or now - rollout.waiting_since.timestamp() <= limit:
        return decision
    if rollout.waiting_for in _COUNTS_AGAINST:
        fault = Finding(
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"no progress within {limit} s: {decision.why.message}",
        )
        return _rolled_back(state, fault, now)
    if rollout.waiting_for == Reason.ANALYSIS_INCONCLUSIVE and coming is not None:
        return _begun(observed, states.withdrawn(state, now), coming, now, spec)
    return decision
