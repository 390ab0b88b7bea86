"""Running the comparison of candidate and stable beside the requests of users.

It has a thread of its own and rests as long as it works: it takes at most half a core. Another
pair of versions ends it, so at most one comparison is under way that still matters.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from millstream_serving.ranking.shadow import compare, enough_queries

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from millstream_api.reports import Shadow
    from millstream_serving.engine.versions import ModelVersion
    from millstream_serving.ranking.answers import Asked

LONGEST_REST_SECONDS: Final = 0.02


class _Superseded(Exception):  # noqa: N818 - never leaves this module
    """Another pair of versions is to be compared."""


class Shadowing:
    """Belongs to one event loop; compares each pair of versions once."""

    def __init__(
        self, popular: int, loop: asyncio.AbstractEventLoop, stopwatch: Callable[[], float]
    ) -> None:
        """Compare nothing yet.

        Args:
            popular: how many popular items a version proposes.
            loop: the event loop.
            stopwatch: seconds of a clock that never jumps.
        """
        self.result: Shadow | None = None  # of the newest pair, once there is one
        self._popular = popular
        self._loop = loop
        self._stopwatch = stopwatch
        self._pair: tuple[str, str] | None = None  # digests of candidate and stable

    def begin(
        self, candidate: ModelVersion, stable: ModelVersion, recorded: Iterable[Asked]
    ) -> None:
        """Compare these two on the recorded queries, unless that is done or under way."""
        pair = (candidate.ref.digest, stable.ref.digest)
        if pair == self._pair:
            return
        self._pair, self.result = pair, None
        threading.Thread(
            target=self._compare, args=(candidate, stable, list(recorded)), daemon=True
        ).start()

    def _compare(
        self, candidate: ModelVersion, stable: ModelVersion, recorded: list[Asked]
    ) -> None:
        """Runs on the thread."""
        pair = (candidate.ref.digest, stable.ref.digest)
        resting = threading.Event()  # never set: only its time-out is wanted
        last = self._stopwatch()

        def rest() -> None:
            nonlocal last
            resting.wait(min(self._stopwatch() - last, LONGEST_REST_SECONDS))
            last = self._stopwatch()
            if self._pair != pair:
                raise _Superseded

        queries = enough_queries(recorded, stable, self._popular)
        with suppress(_Superseded):
            shadow = compare(candidate, stable, queries, rest)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._finish, pair, shadow)

    def _finish(self, pair: tuple[str, str], shadow: Shadow) -> None:
        if pair == self._pair:
            self.result = shadow
