"""One job at a time beside the training: a thread that the loop hands work to and asks for results.

The thread is a daemon, because a process that has to end must not wait for a store that hangs.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Background(Protocol[T]):
    """Runs jobs elsewhere, one at a time."""

    @property
    def is_busy(self) -> bool:
        """Whether a job's result has not been taken yet."""

    def start(self, job: Callable[[], T]) -> None:
        """Begin a job; there must be none."""

    def result(self, timeout: float = 0.0) -> T | None:
        """The result of the job if it is there within so many seconds; None otherwise.

        Whatever the job raised is raised here.
        """


class BackgroundThread(Generic[T]):
    """A Background on a daemon thread."""

    def __init__(self, name: str) -> None:
        """Start the thread, idle."""
        self._jobs: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = (
            queue.SimpleQueue()
        )
        self._is_busy = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """See Background."""
        return self._is_busy

    def start(self, job: Callable[[], T]) -> None:
        """See Background."""
        assert not self._is_busy, "one job at a time"
        self._is_busy = True
        self._jobs.put(job)

    def result(self, timeout: float = 0.0) -> T | None:
        """See Background."""
        if not self._is_busy:
            return None
        try:
            result, error = self._results.get(timeout > 0, timeout or None)
        except queue.Empty:
            return None
        self._is_busy = False
        if error is not None:
            raise error
        return result

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                self._results.put((job(), None))
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                self._results.put((None, error))
