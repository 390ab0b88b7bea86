"""What is worth an Event: a release that changes, a condition that flips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from millstream_api.conditions import Reason, Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from millstream_api.conditions import Condition
    from millstream_operator.decide.rollout import RolloutDecision

_TOLD: Final = frozenset(
    {Type.READY, Type.STORE_REACHABLE, Type.CHECKPOINT_HEALTHY, Type.SUSPENDED, Type.PAUSED}
)


@dataclass(frozen=True)
class Told:
    """One Event to be."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


def flips(before: Iterable[Condition], after: Iterable[Condition]) -> Iterator[Told]:
    """Conditions that hold no longer, or hold again."""
    known = {each.type: each.status for each in before}
    for each in after:
        if each.type not in _TOLD or known.get(each.type, each.status) == each.status:
            continue
        if each.status == "Unknown":
            continue
        good = each.status == "True" or each.type in {Type.SUSPENDED, Type.PAUSED}
        yield Told("Normal" if good else "Warning", each.reason, each.message)


def steps(decision: RolloutDecision) -> Iterator[Told]:
    """A step of a rollout; of the batches only the first, which is when users first see it."""
    if not decision.transition:
        return
    if decision.why.reason == Reason.BATCH_ADVANCED and decision.state.release.advanced > 1:
        return
    bad = decision.analysis is not None and decision.analysis.outcome == "Failed"
    yield Told("Warning" if bad else "Normal", decision.why.reason, decision.why.message)
