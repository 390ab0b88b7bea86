"""A sample of the answered requests, as lines of JSON on stdout.

    answered ──draw──► rate ──► OffPath ──► {"log": "request", …, "request": …, "answer": …}

`request` is what to POST to /v1/rank to have the same scored again, wherever items and history came
from the first time, so a line can be replayed against any server and compared with `answer`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import orjson

from millstream_core.telemetry.off_path import OffPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_serving.ranking.answers import Outcome, Query

LINES_WAITING: Final = 1024
CLOSE_SECONDS: Final = 2.0


class _Answered(NamedTuple):
    query: Query
    outcome: Outcome
    batch: int | None
    at: float  # Unix seconds


class Rate:
    """At most so many a second, and after a pause that many at once; any thread may take."""

    def __init__(self, per_second: float, stopwatch: Callable[[], float]) -> None:
        """Begin with nothing taken."""
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._left = self._most
        self._stopwatch = stopwatch
        self._at = stopwatch()
        self._lock = Lock()

    def take(self) -> bool:
        """Whether one more may go through now."""
        with self._lock:
            now = self._stopwatch()
            self._left = min(self._most, self._left + (now - self._at) * self._per_second)
            self._at = now
            if self._left < 1:
                return False
            self._left -= 1
            return True


class RequestLog:
    """Told by any lane of answers; none waits for a line to be written."""

    def __init__(
        self,
        stream: BinaryIO,
        replica: str,
        ratio: float,
        rate: Rate,
        *,
        draw: Callable[[], float],
        clock: Callable[[], float],
        room: int = LINES_WAITING,
    ) -> None:
        """Log nothing yet.

        Args:
            stream: where lines go.
            replica: name of this one, for the lines.
            ratio: of the answered requests that are logged.
            rate: bounds them besides.
            draw: a random number from 0 to below 1.
            clock: Unix seconds.
            room: lines that may wait to be written.
        """
        self._stream = stream
        self._replica = replica
        self._ratio = ratio
        self._rate = rate
        self._draw = draw
        self._clock = clock
        self._lines: OffPath[_Answered] = OffPath("requests", self._write, room=room)

    @property
    def dropped(self) -> int:
        """Lines that were to be written and were not."""
        return self._lines.dropped

    def note(self, query: Query, outcome: Outcome, batch: int | None) -> None:
        """Take a request that has been answered with scores, or leave it out."""
        if self._draw() < self._ratio and self._rate.take():
            self._lines.put(_Answered(query, outcome, batch, self._clock()))

    def close(self) -> None:
        """Write what waits, if somebody reads."""
        self._lines.close(CLOSE_SECONDS)

    def _write(self, batch: list[_Answered]) -> None:
        lines = [orjson.dumps(line_of(each, self._replica), option=_LINE) for each in batch]
        self._stream.write(b"".join(lines))
        self._stream.flush()


_LINE: Final = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY


def line_of(answered: _Answered, replica: str) -> dict[str, Any]:
    """A line as a document."""
    query, outcome = answered.query, answered.outcome
    asked, version, best = outcome.asked, outcome.version, outcome.best
    assert best is not None
    return {
        "log": "request",
        "time": datetime.fromtimestamp(answered.at, UTC).isoformat(timespec="milliseconds"),
        "replica": replica,
        "version": version.version,
        "digest": version.digest,
        "batch": answered.batch,
        "request": {
            "user_id": query.user_id,
            "items": asked.items if query.items is None else query.items,
            "history": asked.history if query.history is None else query.history,
            "context": query.context,
            "k": len(outcome.ids),
        },
        "answer": {"ids": outcome.ids, "scores": best.scores},
    }
