"""What speaks against a candidate: the first rung of the rollout's ladder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_api.conditions import Reason
from millstream_operator.decide.observed import Finding
from millstream_operator.decide.verdicts import Verdict, judge_counters, judge_shadows

if TYPE_CHECKING:
    from millstream_api.recserving import LaneSpec, RecServingSpec
    from millstream_operator.decide.observed import Observed
    from millstream_operator.decide.states import State

RESTARTS_TOLERATED: Final = 1  # a container may fail once by itself
# A version unlike stable is taken back, and the trainer learns the same events again from one that
# was good. When that has led to the same twice, it is stable that no longer fits, or the events
# are wrong: a third round would teach nobody anything, so a person is asked instead.
UNLIKE_STABLE: Final = frozenset(
    {
        Reason.SCORE_SHIFT_EXCEEDED,
        Reason.SCORE_CORRELATION_LOW,
        Reason.DEFAULT_RATIO_EXCEEDED,
        Reason.GOLDEN_AUC_DROPPED,
    }
)
UNLIKE_IN_A_ROW: Final = 2


def lane_of(state: State, spec: RecServingSpec) -> LaneSpec:
    """The part of spec.rollout that the candidate follows."""
    delta = state.rollout is not None and state.rollout.lane == "Delta"
    return spec.rollout.delta if delta else spec.rollout.base


def judged(observed: Observed, state: State, spec: RecServingSpec) -> Verdict | None:
    """What the numbers say of the candidate; None where there is nothing to compare it with."""
    release = state.release
    if release.candidate is None or release.stable is None:
        return None
    lane = lane_of(state, spec)
    if release.mode == "Shadow":
        pair = (release.candidate.digest, release.stable.digest)
        found = [each.shadow_of(pair) for each in observed.replicas]
        return judge_shadows([each for each in found if each is not None], lane)
    reports = [each.report for each in observed.replicas if each.report is not None]
    return judge_counters(
        reports, release.candidate.digest, release.stable.digest, release.salt, lane
    )


def find_fault(observed: Observed, state: State, analysis: Verdict | None) -> Finding | None:
    """Why the candidate has to go; None where nothing speaks against it."""
    candidate = state.release.candidate
    if candidate is None or state.rollout is None:
        return None
    for replica in sorted(observed.replicas, key=lambda each: each.name):
        stand = replica.state_of(candidate)
        if stand is not None and stand.state == "Refused":
            return Finding(
                stand.reason or Reason.VERSION_REFUSED,
                f"{replica.name} refuses it: {stand.message}",
            )
    if (
        analysis is not None
        and analysis.outcome == "Failed"
        and not _differs_again(state, analysis.finding)
    ):
        return analysis.finding
    failed = sum(each.restarts for each in observed.replicas) - state.rollout.restarts
    if failed > RESTARTS_TOLERATED:
        return Finding(
            Reason.REPLICAS_FAILING, f"servers failed {failed} times since they were given it"
        )
    return None


def _differs_again(state: State, finding: Finding) -> bool:
    """Whether no user has it yet and the last versions were taken back for the same kind of thing.

    Only those taken back since the last promotion count: a good version ends the row.
    """
    since = state.history[0].promoted_at if state.history else None
    lately = [each for each in state.quarantined if since is None or each.at > since]
    return (
        state.release.mode == "Shadow"
        and finding.reason in UNLIKE_STABLE
        and len(lately) >= UNLIKE_IN_A_ROW
        and all(each.reason in UNLIKE_STABLE for each in lately[:UNLIKE_IN_A_ROW])
    )
