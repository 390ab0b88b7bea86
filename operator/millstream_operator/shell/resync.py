"""Lists everything anew: at the start, and every five minutes.

A watch that broke off never says what was deleted meanwhile, and events can be lost in ways
nobody has thought of. After a resync the cache is exactly what the API server holds and every
object gets a look, so no miss outlives five minutes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from millstream_operator.shell.errors import ApiError, NotFound
from millstream_operator.shell.kinds import CHILD_SELECTOR, PARENTS, WATCHED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millstream_operator.shell.api import ApiClient
    from millstream_operator.shell.cache import Key, ObjectCache
    from millstream_operator.shell.children import ChildWriter
    from millstream_operator.shell.metrics import Metrics
    from millstream_operator.shell.queue import KeyedQueue

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 300.0
RETRY_SECONDS: Final = 5.0


async def wait_for_definitions(api: ApiClient, namespaces: Sequence[str | None]) -> None:
    """Wait until the API server serves both custom resources."""
    told = ""
    while True:
        try:
            for kind in PARENTS:
                await api.request("GET", kind.path(namespaces[0]), query={"limit": "1"})
        except NotFound:
            word = (
                "waiting for the CustomResourceDefinitions rectrainings.millstream.dev and"
                " recservings.millstream.dev: install the chart with crds.enabled=true, or"
                " kubectl apply -f crds/"
            )
        except ApiError as error:
            word = f"waiting for the API server: {error}"
        else:
            return
        if word != told:
            log.warning("%s", word)
            told = word
        await asyncio.sleep(RETRY_SECONDS)


class Resync:
    """Belongs to one event loop."""

    def __init__(
        self,
        api: ApiClient,
        cache: ObjectCache,
        children: ChildWriter,
        queue: KeyedQueue[Key],
        namespaces: Sequence[str | None],
        metrics: Metrics,
        jitter: Callable[[], float],
    ) -> None:
        """Nothing is listed yet.

        Args:
            api: the client.
            cache: is replaced.
            children: forgets what it has applied, so that lost metadata is put back.
            queue: gets all keys.
            namespaces: those watched; (None,) for all.
            metrics: count resyncs.
            jitter: a random number in [0, 1), anew at each call.
        """
        self._api = api
        self._cache = cache
        self._children = children
        self._queue = queue
        self._namespaces = namespaces
        self._metrics = metrics
        self._jitter = jitter
        self.synced = False

    async def once(self) -> None:
        """List all kinds and have every object looked at; raises ApiError."""
        gone = set(self._cache.parents())
        for kind in WATCHED:
            selector = "" if kind in PARENTS else CHILD_SELECTOR
            for namespace in self._namespaces:
                found = [body async for body in self._api.list(kind, namespace, selector)]
                self._cache.replace(kind, namespace, found)
        for key in {*gone, *self._cache.parents()}:
            self._children.forget(key)
            self._queue.add(key)
        self.synced = True
        self._metrics.resyncs.inc()

    async def until_synced(self) -> None:
        """List everything, however long that takes to succeed."""
        while True:
            try:
                return await self.once()
            except ApiError as error:
                log.warning("listing failed, next try in %.0f s: %s", RETRY_SECONDS, error)
            await asyncio.sleep(RETRY_SECONDS)

    async def run(self) -> None:
        """Resync for ever: at once, since leadership may have been waited for, and then often."""
        while True:
            await self.until_synced()
            await asyncio.sleep(INTERVAL_SECONDS * (0.9 + 0.2 * self._jitter()))
