"""When the stages of one request ended, noted on the way where a trace was asked for.

    read ─► wait ─► features ─► look up ─► score ─► answer
                    └──── as one job of a lane ───┘

A request is in one place at a time, so its marks need no lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from millstream_serving.engine.versions import ScratchPad

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Scratch = TypeVar("Scratch")


class Marks:
    """Stages in order, each with the time at which it ended."""

    def __init__(self, stopwatch: Callable[[], float]) -> None:
        """The request is here.

        Args:
            stopwatch: seconds of a clock that never jumps.
        """
        self.start = stopwatch()
        self.ends: list[tuple[str, float]] = []
        self._stopwatch = stopwatch

    def mark(self, stage: str) -> None:
        """A stage has ended."""
        self.ends.append((stage, self._stopwatch()))


class MarkedPad(ScratchPad):
    """The scratch memory of a thread, for a request with marks.

    A network asks for its scratch when the rows are looked up and scoring begins. One that needs
    none leaves no mark, and its look-up counts as scoring.
    """

    def __init__(self, pad: ScratchPad, marks: Marks) -> None:
        """Have the pad's scratch used, and the moment noted."""
        self._pad = pad
        self._marks = marks

    def fit(self, shape: Hashable, make: Callable[[], Scratch]) -> Scratch:
        """See ScratchPad."""
        self._marks.mark("look up")
        return self._pad.fit(shape, make)
