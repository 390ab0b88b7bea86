"""The queue of keys that need a look: each at most once, none twice at a time.

    add ──► waiting ──get──► worked on ──done──► (again, if it was added meanwhile)
             ▲                   │
             └── in n seconds ◄──┘ wake_after, or back-off after a failure

A key says only that something may have changed; whoever takes it looks at the world afresh. So
a hundred events cost one look, and forgetting what an event said loses nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")

LEAST_INTERVAL_SECONDS = 0.2  # from one look at a key to the next, however often it is added
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 15.0


class KeyedQueue(Generic[K]):
    """Belongs to one event loop; every method is called there."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float]) -> None:
        """Make an empty queue.

        Args:
            clock: seconds that only grow.
            jitter: a random number in [0, 1), anew at each call.
        """
        self._clock = clock
        self._jitter = jitter
        self._waiting: dict[K, float] = {}  # key -> since when; in order
        self._working: set[K] = set()
        self._again: set[K] = set()  # added while being worked on
        self._due: dict[K, float] = {}  # key -> when it is due
        self._heap: list[tuple[float, int, K]] = []  # of _due; stale entries are skipped
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._taken: dict[K, float] = {}  # key -> when it was last given out
        self._changed = asyncio.Event()
        self._closed = False

    def add(self, key: K) -> None:
        """The key needs a look now."""
        if key in self._working:
            self._again.add(key)
            return
        early = self._taken.get(key, float("-inf")) + LEAST_INTERVAL_SECONDS - self._clock()
        if early > 0:
            self._schedule(key, early)
        else:
            self._wait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """The key needs a look in so many seconds, unless it gets one earlier."""
        if seconds <= 0:
            self.add(key)
        else:
            self._schedule(key, seconds)

    async def get(self) -> K:
        """The key that has waited longest; raises QueueClosed."""
        while True:
            self._promote()
            if self._closed:
                raise QueueClosed
            if self._waiting:
                key = next(iter(self._waiting))
                del self._waiting[key]
                self._working.add(key)
                self._taken[key] = self._clock()
                return key
            self._changed.clear()
            pause = max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
            try:
                await asyncio.wait_for(self._changed.wait(), timeout=pause)
            except TimeoutError:
                continue

    def done(self, key: K, wake_after: float | None) -> None:
        """The look went well; look again after so many seconds, or only when asked."""
        self._failures.pop(key, None)
        self._finish(key)
        if wake_after is not None and key not in self._waiting:
            self.add_after(key, wake_after)

    def retry(self, key: K) -> float:
        """The look failed; look again after a pause that doubles each time. Returns the pause.

        An event that came meanwhile does not shorten the pause: it is the failing world that
        has to be spared.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        longest = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 16), LONGEST_PAUSE_SECONDS)
        pause = longest * (0.5 + 0.5 * self._jitter())
        self._working.discard(key)
        self._again.discard(key)
        self.add_after(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """The object is gone: no look is due any more, unless the key is added again."""
        self._failures.pop(key, None)
        self._due.pop(key, None)
        self._taken.pop(key, None)
        self._finish(key)

    def close(self) -> None:
        """Give out no more keys."""
        self._closed = True
        self._changed.set()

    @property
    def depth(self) -> int:
        """Keys that wait to be looked at now."""
        self._promote()
        return len(self._waiting)

    @property
    def oldest_seconds(self) -> float:
        """How long the first key has waited."""
        self._promote()
        since = next(iter(self._waiting.values()), None)
        return 0.0 if since is None else self._clock() - since

    @property
    def retrying(self) -> int:
        """Keys whose last look failed."""
        return len(self._failures)

    def _wait(self, key: K) -> None:
        if not self._closed:
            self._due.pop(key, None)
            self._waiting.setdefault(key, self._clock())
            self._changed.set()

    def _schedule(self, key: K, seconds: float) -> None:
        when = self._clock() + seconds
        if self._closed or key in self._waiting or self._due.get(key, when + 1) <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, next(self._order), key))
        self._changed.set()

    def _finish(self, key: K) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _promote(self) -> None:
        """Move keys that are due to those that wait."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                if key in self._working:
                    self._due.pop(key)
                    self._again.add(key)
                else:
                    self._wait(key)


class QueueClosed(Exception):  # noqa: N818 - a state
    """The queue gives out no more keys."""
