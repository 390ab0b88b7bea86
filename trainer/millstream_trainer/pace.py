"""How busy and how fast training was lately, in one-second bins."""

from __future__ import annotations

from collections import deque
from typing import Final

BUSY_SECONDS: Final = 60
RATE_SECONDS: Final = 10


class Pace:
    """Seconds computed and events learned, by the second in which it happened."""

    def __init__(self, now: float) -> None:
        """Start at this Unix second."""
        self._began = now
        self._bins: deque[tuple[int, float, int]] = deque()  # second, busy seconds, events

    def add(self, now: float, busy: float, events: int) -> None:
        """Note work that ended now."""
        second = int(now)
        if self._bins and self._bins[-1][0] == second:
            _, more_busy, more_events = self._bins.pop()
            busy, events = busy + more_busy, events + more_events
        self._bins.append((second, busy, events))
        while self._bins[0][0] < second - BUSY_SECONDS:
            self._bins.popleft()

    def busy_ratio(self, now: float) -> float:
        """Share of the last minute, or of all time if that is shorter, spent computing."""
        busy = sum(busy for second, busy, _ in self._bins if second > now - BUSY_SECONDS)
        return min(1.0, busy / self._span(now, BUSY_SECONDS))

    def events_per_second(self, now: float) -> float:
        """Events learned a second, over the last ten."""
        events = sum(events for second, _, events in self._bins if second > now - RATE_SECONDS)
        return events / self._span(now, RATE_SECONDS)

    def _span(self, now: float, longest: int) -> float:
        return min(max(now - self._began, 1.0), float(longest))
