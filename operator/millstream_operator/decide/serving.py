"""The status of a RecServing: what was decided and what replicas say, in conditions.

Nothing in it ticks: numbers that grow with every request are in the metrics, and a message that
names replicas changes only when they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_api.conditions import Claim, Reason, Type, claim, fails, holds, merge, unclear
from millstream_api.recserving import RecServingStatus
from millstream_api.resources import at
from millstream_operator.decide.observed import Finding, names_of
from millstream_operator.decide.workloads import Problem, paused_claim, roll_up

if TYPE_CHECKING:
    from millstream_operator.decide.observed import Observed
    from millstream_operator.decide.rollout import RolloutDecision
    from millstream_operator.decide.states import State
    from millstream_operator.decide.workloads import Circumstances

_NEEDS_A_PERSON = frozenset({Reason.ACCESS_DENIED, Reason.SECRET_MISSING, Reason.SECRET_INCOMPLETE})


def decide_serving_status(
    observed: Observed,
    decision: RolloutDecision,
    circumstances: Circumstances,
    selector: str,
    announced: str,
    now: float,
) -> RecServingStatus:
    """The whole status after this pass.

    Args:
        observed: the RecServing and its world.
        decision: about its rollout.
        circumstances: of its pods and children.
        selector: label selector of its pods.
        announced: digest of what the channel `stable` was last told.
        now: Unix seconds.
    """
    state = decision.state
    release = state.release
    claims = (
        *roll_up(circumstances, _lacking(observed, state, circumstances), _fine(observed, state)),
        _available(observed, state),
        _progressing(decision),
        _version_loaded(observed, state),
        _analysis_healthy(decision),
        _rolled_back(observed, state),
        claim(
            Type.STORE_REACHABLE,
            known=observed.store.reachable,
            reason=observed.store.health.reason,
            message=observed.store.health.message,
        ),
        *paused_claim(circumstances),
    )
    stable = state.history[0] if state.history else None
    return RecServingStatus(
        observed_generation=circumstances.generation,
        conditions=merge(
            observed.status.conditions, claims, generation=circumstances.generation, now=at(now)
        ),
        phase=state.phase,
        release=release,
        rollout=state.rollout,
        stable_version=None if release.stable is None else release.stable.version,
        candidate_version=None if release.candidate is None else release.candidate.version,
        pending_version=None if decision.pending is None else decision.pending.version,
        batch="-" if release.candidate is None else f"{release.advanced}/{release.batches}",
        watermark=None if stable is None else stable.watermark,
        history=state.history,
        quarantined=state.quarantined,
        superseded=state.superseded,
        announced=announced,
        replicas=len(observed.replicas),
        ready_replicas=len(observed.ready),
        selector=selector,
        servers=f"{len(observed.ready)}/{observed.wanted_replicas}",
    )


def _fine(observed: Observed, state: State) -> Finding:
    if not observed.wanted_replicas:
        return Finding(Reason.AS_ASKED, "no server is asked for")
    return Finding(Reason.REPLICAS_READY, f"all servers serve version {state.release.stable}")


def _lacking(observed: Observed, state: State, circumstances: Circumstances) -> Problem | None:
    """What keeps the object from being as asked; the first that is found."""
    health = observed.store.health
    blocked = Problem(health, lasting=True) if health.reason in _NEEDS_A_PERSON else None
    if observed.wanted_replicas and state.release.stable is None:
        told = {
            "Pending": "no version has been published yet",
            "Loading": f"version {state.release.candidate} is being loaded",
        }.get(state.phase, "no version is served yet")
        return blocked or Problem(Finding(Reason.WAITING_FOR_VERSION, told), lasting=False)
    if circumstances.workload.refused:
        return Problem(Finding(Reason.FAILED_CREATE, circumstances.workload.refused), lasting=False)
    if len(observed.ready) < observed.wanted_replicas:
        told = f"{len(observed.ready)} of {observed.wanted_replicas} servers are ready"
        waiting = Finding(Reason.WAITING_FOR_REPLICAS, _with_troubles(told, observed))
        return blocked or Problem(waiting, lasting=False)
    if not circumstances.workload.current:
        told = "servers are being replaced by what the spec asks"
        applying = Finding(Reason.APPLYING, _with_troubles(told, observed))
        return Problem(applying, lasting=False)
    return None


def _with_troubles(told: str, observed: Observed) -> str:
    troubled = sorted(
        f"{replica.name}: {replica.problem}" for replica in observed.replicas if replica.problem
    )
    return "; ".join([told, *troubled[:3]])


def _available(observed: Observed, state: State) -> Claim:
    if observed.ready and state.release.stable is not None:
        return holds(Type.AVAILABLE, Reason.REPLICAS_READY, "requests are answered")
    if state.release.stable is None:
        return fails(Type.AVAILABLE, Reason.WAITING_FOR_VERSION, "no version is served yet")
    return fails(Type.AVAILABLE, Reason.WAITING_FOR_REPLICAS, "no server is ready")


def _progressing(decision: RolloutDecision) -> Claim:
    under_way = decision.state.release.candidate is not None
    return claim(
        Type.PROGRESSING,
        known=under_way,
        reason=decision.why.reason,
        message=decision.why.message,
    )


def _version_loaded(observed: Observed, state: State) -> Claim:
    wanted = state.release.wanted()
    if not wanted:
        return fails(
            Type.VERSION_LOADED, Reason.WAITING_FOR_VERSION, "there is nothing to load yet"
        )
    if not observed.answering:
        return unclear(
            Type.VERSION_LOADED, Reason.WAITING_FOR_REPLICAS, "no server says what it holds"
        )
    for ref in wanted:
        lacking = tuple(each for each in observed.answering if not each.holds(ref))
        if not lacking:
            continue
        refusing = [each for each in lacking if each.refuses(ref)]
        if refusing:
            return fails(
                Type.VERSION_LOADED,
                Reason.VERSION_REFUSED,
                f"{names_of(tuple(refusing))} refuse version {ref}",
            )
        return fails(Type.VERSION_LOADED, Reason.LOADING, f"{names_of(lacking)} load version {ref}")
    return holds(Type.VERSION_LOADED, Reason.AS_ASKED, "servers hold all versions of the release")


def _analysis_healthy(decision: RolloutDecision) -> Claim:
    verdict = decision.analysis
    if verdict is None:
        return holds(Type.ANALYSIS_HEALTHY, Reason.NO_ANALYSIS, "no version is on trial")
    healthy = {"Passed": True, "Failed": False, "Inconclusive": None}[verdict.outcome]
    reason, message = verdict.finding.reason, verdict.finding.message
    return claim(Type.ANALYSIS_HEALTHY, known=healthy, reason=reason, message=message)


def _rolled_back(observed: Observed, state: State) -> Claim:
    """Whether users have an older version than they could, because one was taken back."""
    if observed.rollback_to is not None and state.release.mode == "Pinned":
        told = f"a person went back to version {state.release.stable}"
        return holds(Type.ROLLED_BACK, Reason.PINNED, told)
    bad = state.quarantined[0] if state.quarantined else None
    good = state.history[0] if state.history else None
    if bad is None or (good is not None and good.promoted_at > bad.at):
        return fails(Type.ROLLED_BACK, Reason.NO_ROLLBACK, "no version was taken back lately")
    behind = tuple(
        each
        for each in observed.ready
        if each.report is None or each.report.epoch < state.release.epoch
    )
    told = f"version {bad.version} was taken back ({bad.reason}): {bad.message}"
    reason = Reason.ROLLBACK_IN_PROGRESS if behind else Reason.ROLLBACK_COMPLETED
    return holds(Type.ROLLED_BACK, reason, told)
