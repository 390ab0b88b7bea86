"""The scoring threads: a few, because kernels run without the GIL, and a queue with an end.

A queue longer than a user's patience only makes every answer late, so beyond its bound a job is
turned away at once and the caller may try another replica. And a job whose turn comes after its
deadline is not done: nobody waits for it any more, but others behind it do.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from millstream_serving.engine.versions import ScratchPad

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Job = Callable[[ScratchPad], Any]


class Busy(Exception):  # noqa: N818 - named for what is the case
    """As many jobs wait as may wait."""


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
        """Have a job done; raises Busy at once where too many wait.

        Args:
            job: what to do.
            deadline: on the stopwatch; where its turn comes later, the result is TooLate.
        """
        if self._unfinished >= self._waiting:
            raise Busy
        self._unfinished += 1
        future: asyncio.Future[Result] = self._loop.create_future()
        self._jobs.put((job, deadline, future))
        return future

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
            if self._stopwatch() > deadline:
                error = TooLate()
            else:
                try:
                    result = job(pad)
                except Exception as raised:  # noqa: BLE001 - handed to whoever waits
                    error = raised
            # The loop is gone only when the process is about to be.
            del item, job
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._finish, future, result, error)

    def _finish(self, future: asyncio.Future[Any], result: object, error: Exception | None) -> None:
        self._unfinished -= 1
        if future.cancelled():  # whoever asked has gone
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
