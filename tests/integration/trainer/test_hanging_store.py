"""A store that neither answers nor refuses: training goes on, and ends when asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_trainer.loop import DRAIN_SECONDS
from tests.builders.trainer import START, InlineJobs, Run, VirtualClock, manifests

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_trainer.publishing.jobs import Outcome


class HangsFrom(InlineJobs):
    """Jobs are done at once, but from a moment on never."""

    def __init__(self, clock: VirtualClock, moment: float) -> None:
        super().__init__()
        self._clock, self._moment = clock, moment
        self._hangs = False

    @property
    def is_busy(self) -> bool:
        return self._hangs or super().is_busy

    def start(self, job: Callable[[], Outcome]) -> None:
        if self._clock.now() >= self._moment:
            self._hangs = True
        else:
            super().start(job)

    def result(self, timeout: float = 0.0) -> Outcome | None:
        if self._hangs:
            self._clock.wait(timeout)
            return None
        return super().result(timeout)


def test_it_trains_on_and_ends_in_time() -> None:
    clock = VirtualClock(seconds=20)
    run = Run(clock=clock, background=HangsFrom(clock, START + 12)).run()
    assert manifests(run.objects), "what was published before stays"
    assert run.reports[-1].events > 19 * 200
    assert DRAIN_SECONDS <= clock.now() - clock.end < DRAIN_SECONDS + 2


def test_asked_to_end_before_the_store_has_answered_it_ends_at_once() -> None:
    clock = VirtualClock(seconds=5)
    run = Run(clock=clock, background=HangsFrom(clock, START)).run()
    assert clock.now() - clock.end < 2
    assert {report.phase for report in run.reports} == {"Restoring"}
