"""The scoring threads: a few, because kernels run without the GIL, and a queue with an end.

A queue longer than a user's patience only makes every answer late, so a job is turned away at once,
and the caller may try another replica, where as many wait as may wait, or where its turn is not
expected within two thirds of the time to its deadline: what is expected is what jobs took lately,
and a job that waits in vain is worse than one that never waited. One whose turn comes after its
deadline all the same is not done: nobody waits for it any more, but others behind it do.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from millstream_serving.engine.versions import ScratchPad

log = logging.getLogger(__name__)

RECENT: Final = 1 / 32  # weight of the last job in how long jobs take
MARGIN: Final = 1.5  # how many times longer than expected a turn may take to come

Result = TypeVar("Result")
Job = Callable[[ScratchPad], Any]


class Busy(Exception):  # noqa: N818 - named for what is the case
    """More jobs wait than may wait, or than can be done in time."""


class TooLate(Exception):  # noqa: N818
    """The job's turn came after its deadline."""


class ScoringPool:
    """Runs jobs on threads of its own; belongs to the event loop that created it."""

    def __init__(
        self, threads: int, waiting: int, stopwatch: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the threads.

        Args:
            threads: how many.
            waiting: jobs that may be unfinished at a time, those being worked on included.
            stopwatch: seconds of the clock that deadlines are of.
        """
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting
        self._stopwatch = stopwatch
        self._unfinished = 0
        self._seconds = 0.0  # that a job took lately
        self._jobs: SimpleQueue[tuple[Job, float, asyncio.Future[Any]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"scoring-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, job: Callable[[ScratchPad], Result], deadline: float = math.inf
    ) -> asyncio.Future[Result]:
        """Have a job done.

        Args:
            job: what to do.
            deadline: on the stopwatch; where its turn comes later, the result is TooLate.

        Raises:
            Busy: at once, as `check_room` does.
        """
        self.check_room(deadline)
        self._unfinished += 1
        future: asyncio.Future[Result] = self._loop.create_future()
        self._jobs.put((job, deadline, future))
        return future

    def check_room(self, deadline: float) -> None:
        """Raise Busy where a job with this deadline would be turned away.

        None is that would have a thread to itself, so after a stall it is learned anew what jobs
        take.
        """
        threads = len(self._threads)
        ahead = max(0, self._unfinished - threads + 1)  # jobs that must end before its turn
        late = MARGIN * ahead * self._seconds / threads
        if self._unfinished >= self._waiting or self._stopwatch() + late > deadline:
            raise Busy

    def stop(self) -> None:
        """Let the threads end after the jobs that wait."""
        for _ in self._threads:
            self._jobs.put(None)

    def _work(self) -> None:
        pad = ScratchPad()
        while (item := self._jobs.get()) is not None:
            job, deadline, future = item
            result: object = None
            error: Exception | None = None
            took: float | None = None
            began = self._stopwatch()
            if began > deadline:
                error = TooLate()
            else:
                try:
                    result = job(pad)
                except Exception as raised:  # noqa: BLE001 - handed to whoever waits
                    error = raised
                took = self._stopwatch() - began
            # The loop is gone only when the process is about to be.
            del item, job
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._finish, future, result, error, took)

    def _finish(
        self,
        future: asyncio.Future[Any],
        result: object,
        error: Exception | None,
        took: float | None,
    ) -> None:
        self._unfinished -= 1
        if took is not None:
            self._seconds += RECENT * (took - self._seconds)
        if future.cancelled():  # whoever asked has gone
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
