"""What a version holds was taken at one step, and when it is taken no stream can put off."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from tests.builders.trainer import (
    START,
    InlineJobs,
    RecordSource,
    Run,
    VirtualClock,
    make_record,
    make_settings,
    manifests,
    state_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_trainer.publishing.jobs import Outcome

LATE = 0.7  # seconds, less than the second from one version to the next


class LateJobs(InlineJobs):
    """Jobs that only begin when training has gone on for a while."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._waits = False
        self.late = 0  # jobs begun after so long

    @property
    def is_busy(self) -> bool:
        return self._waits or super().is_busy

    def start(self, job: Callable[[], Outcome]) -> None:
        def begin() -> None:
            self._waits = False
            self.late += 1
            super(LateJobs, self).start(job)

        self._waits = True
        self._clock.happens(LATE, begin)

    def result(self, timeout: float = 0.0) -> Outcome | None:
        if self._waits:
            self._clock.wait(timeout)
            return None
        return super().result(timeout)


def test_a_version_written_while_training_goes_on_is_that_of_its_step() -> None:
    """R6: rows, optimizer state, weights and positions are those of the barrier.

    What is trained while a version is on its way is in the next one, for all parts alike.
    """
    clock = VirtualClock(seconds=16)
    jobs = LateJobs(clock)
    late = manifests(Run(clock=clock, background=jobs).run().objects)
    at_once = manifests(Run(clock=VirtualClock(seconds=16)).run().objects)
    assert jobs.late >= 5
    states = {version.step: state_of(version) for version in at_once.values()}
    compared = [version for version in late.values() if version.step in states]
    assert len(compared) >= 4
    for version in compared:
        assert state_of(version) == states[version.step]


def test_an_event_a_minute_is_published_in_time() -> None:
    """R8: the bound on staleness does not depend on how much comes."""
    interval, minutes = 30.0, 30
    times = [START + 60.0 * minute for minute in range(minutes)]
    source = RecordSource([make_record(event_time=time) for time in times], times)
    clock = VirtualClock(seconds=60.0 * minutes)
    settings = make_settings(publish_interval_seconds=interval)
    run = Run(settings=settings, source=source, clock=clock).run()
    versions = list(manifests(run.objects, settings).values())
    first = versions[0]
    assert first.watermark is not None
    assert len(versions) > minutes / 2
    # From the first version on, an event waits for the interval and for its batch's window.
    known = [version.watermark.last for version in versions if version.watermark is not None]
    for time in times[times.index(first.watermark.last) + 1 :]:
        held_by = versions[bisect_left(known, time)]
        assert held_by.created_at - time <= interval + 1
