"""How the loading thread stays out of the way of threads that answer requests.

Where processors are short, the kernel gives them to the threads that answer first. That alone is
not enough: whoever is in the middle of an answer when this thread gets its turn waits for a few
milliseconds. So the work on a large version is spread over time, and then few answers meet it.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Final

NICENESS: Final = 3  # half the weight of a thread that answers (sched(7))
AT_ONCE_SECONDS: Final = 0.02  # of work on a version before the first rest: a delta of every second
SHARE: Final = 1 / 8  # of one processor, for the work beyond
SHORTEST_SECONDS: Final = 0.1  # of a rest: waking up often disturbs more than working on
LONGEST_SECONDS: Final = 1.0  # of all rests together: then users wait for the version


def give_way() -> None:
    """Have this thread, and those that it starts from now on, come after threads that answer.

    On Linux niceness is a thread's own and handed down to its children (sched(7)).
    """
    thread = threading.get_native_id()
    usual = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, usual + NICENESS)  # the kernel ends it at 19


def rest_due(worked: float, elapsed: float, rested: float) -> float:
    """Seconds to rest now, 0 where there is no need yet.

    Args:
        worked: processor seconds spent on a version so far.
        elapsed: seconds since that began.
        rested: seconds of them that were rests.
    """
    due = (worked - AT_ONCE_SECONDS) / SHARE - elapsed
    return min(due, max(0.0, LONGEST_SECONDS - rested)) if due >= SHORTEST_SECONDS else 0.0


class Pace:
    """The rests of the thread that made it, while it works on one version."""

    def __init__(self) -> None:
        """Begin."""
        self._began, self._worked_before, self._rested = time.monotonic(), time.thread_time(), 0.0

    def rest(self) -> None:
        """Between two pieces of work: go on at once, or after a while."""
        worked = time.thread_time() - self._worked_before
        due = rest_due(worked, time.monotonic() - self._began, self._rested)
        if due > 0:
            time.sleep(due)
            self._rested += due
