"""Two sides timed in turns, and the rows of a report that come of it.

Machines are shared and drift, so absolute times mean little: both sides run alternately in one
process, each round gives one ratio, and the report carries the median ratio and its spread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

from demo.report import Row

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS: Final = 5


@dataclass(frozen=True)
class Turns:
    """Seconds of both sides, by round."""

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times longer the other side took, by round."""
        return [theirs / ours for ours, theirs in zip(self.ours, self.theirs, strict=True)]


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turns(ours: Callable[[], float], theirs: Callable[[], float], runs: int = RUNS) -> Turns:
    """Time both sides alternately.

    Args:
        ours: returns seconds; prepares what it needs outside of them.
        theirs: the same of the other side.
        runs: rounds.
    """
    found = [(ours(), theirs()) for _ in range(runs)]
    return Turns([each for each, _ in found], [each for _, each in found])


def times_faster(
    what: str, turns: Turns, bar: float | None, against: str, value: float, unit: str
) -> Row:
    """A row that holds where the other side takes at least `bar` times longer."""
    ratio = median(turns.ratios)
    here = f"({spread(turns.ratios)} here)"
    return Row(
        what=what,
        value=value,
        unit=unit,
        against=against,
        ratio=ratio,
        bar=here if bar is None else f"≥ {bar:g} × {against} {here}",
        holds=None if bar is None else ratio >= bar,
        runs=len(turns.ours),
    )


def fraction_of(what: str, turns: Turns, bar: float, against: str) -> Row:
    """A row in milliseconds that holds where we take at most 1/bar of the other side's time."""
    ratio = median(turns.ratios)
    return Row(
        what=what,
        value=median(turns.ours) * 1e3,
        unit="ms",
        against=against,
        ratio=ratio,
        bar=f"≤ 1/{bar:g} of {against} (1/{ratio:.1f}; 1/{spread(turns.ratios)} here)",
        holds=ratio >= bar,
        runs=len(turns.ours),
    )


def beside(what: str, turns: Turns, against: str, scale: float, unit: str) -> Row:
    """A row that has no bar: what ours takes, and how many times that the other side takes."""
    return Row(
        what=what,
        value=median(turns.ours) * scale,
        unit=unit,
        against=against,
        ratio=median(turns.ratios),
        bar=f"({spread(turns.ratios)} here)",
        runs=len(turns.ours),
    )


def median_at_most(what: str, values: list[float], bar: float, unit: str) -> Row:
    """A row that holds where the median of some runs is not larger."""
    return _held_against(what, values, f"≤ {bar:g}", unit, holds=median(values) <= bar)


def median_at_least(what: str, values: list[float], bar: float, unit: str) -> Row:
    """A row that holds where the median of some runs is not smaller."""
    return _held_against(what, values, f"≥ {bar:g}", unit, holds=median(values) >= bar)


def _held_against(what: str, values: list[float], bar: str, unit: str, *, holds: bool) -> Row:
    return Row(
        what=what,
        value=median(values),
        unit=unit,
        bar=f"{bar} ({spread(values)} here)",
        holds=holds,
        runs=len(values),
    )


def spread(values: list[float]) -> str:
    """The smallest and the largest, for a bar."""
    return f"{min(values):.3g}-{max(values):.3g}"
