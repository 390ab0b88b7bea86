"""How far two answers to one request agree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Id = int | str


@dataclass(frozen=True)
class Answer:
    """A ranking, best first."""

    version: int
    ids: tuple[Id, ...]
    scores: tuple[float, ...]  # of `ids`


@dataclass(frozen=True)
class Agreement:
    """Of an answer with the one that was logged."""

    logged: int  # version
    answered: int  # version
    overlap: float  # share of the logged items that are among as many of the answer
    same_first: bool
    differences: tuple[float, ...]  # of the scores of items in both, without sign


def agreement(logged: Answer, again: Answer) -> Agreement:
    """Compare two answers; the logged one is not empty."""
    scores = dict(zip(again.ids, again.scores, strict=True))
    both = [each for each in zip(logged.ids, logged.scores, strict=True) if each[0] in scores]
    return Agreement(
        logged=logged.version,
        answered=again.version,
        overlap=len(both) / len(logged.ids),
        same_first=again.ids[:1] == logged.ids[:1],
        differences=tuple(abs(score - scores[item]) for item, score in both),
    )


def summaries(found: Iterable[Agreement]) -> list[dict[str, Any]]:
    """One document for each pair of versions, in their order: means over requests.

    The difference of scores is None where no item was in both answers of any request.
    """
    pairs: dict[tuple[int, int], list[Agreement]] = defaultdict(list)
    for each in found:
        pairs[each.logged, each.answered].append(each)
    return [_summary(*pair, pairs[pair]) for pair in sorted(pairs)]


def _summary(logged: int, answered: int, found: list[Agreement]) -> dict[str, Any]:
    differences = [difference for each in found for difference in each.differences]
    return {
        "logged": logged,
        "answered": answered,
        "requests": len(found),
        "overlap": fmean(each.overlap for each in found),
        "sameFirst": fmean(each.same_first for each in found),
        "meanDifference": fmean(differences) if differences else None,
        "largestDifference": max(differences, default=None),
    }
