"""What both kinds have to say of their pods, and the three conditions that tools wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream_api.conditions import Claim, Reason, Type, fails, holds

if TYPE_CHECKING:
    from millstream_operator.decide.observed import Finding


@dataclass(frozen=True)
class Workload:
    """The StatefulSet or Deployment of an object, as its controller reports it."""

    current: bool = False  # the controller has seen the newest template and all pods follow it
    refused: str = ""  # why the controller cannot create pods, in the API server's words


@dataclass(frozen=True)
class Problem:
    """What keeps the operator from doing as asked."""

    finding: Finding
    lasting: bool  # a person has to act; trying again alone does not help


@dataclass(frozen=True)
class Circumstances:
    """What a status depends on besides its kind's own business."""

    generation: int
    workload: Workload
    problem: Problem | None = None
    paused: bool = False


def roll_up(
    circumstances: Circumstances, lacking: Problem | None, fine: Finding
) -> tuple[Claim, ...]:
    """Ready, and Reconciling or Stalled while it is not.

    Args:
        circumstances: problems and rollouts of pods come from here.
        lacking: what the kind itself lacks, None where nothing is.
        fine: what to say when all is as asked.
    """
    found = circumstances.problem or lacking
    if found is None:
        return (holds(Type.READY, fine.reason, fine.message),)
    reason, message = found.finding.reason, found.finding.message
    second = Type.STALLED if found.lasting else Type.RECONCILING
    return (
        fails(Type.READY, reason, message),
        holds(second, reason, message),
    )


def paused_claim(circumstances: Circumstances) -> tuple[Claim, ...]:
    """Paused, only while it is so."""
    if not circumstances.paused:
        return ()
    told = "nothing is changed while the annotation millstream.dev/pause is true"
    return (holds(Type.PAUSED, Reason.PAUSED_BY_ANNOTATION, told),)
