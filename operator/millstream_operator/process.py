"""The process: its parts, the order in which they start, and how it ends.

    main loop: Lease, queue, workers, resync, /livez /readyz /metrics
    kopf's thread: watches ──events──► main loop
    store threads: boto3

It ends by a signal (0: everything stopped, the Lease given back) or because it has lost its
basis: leadership, or the watches (1: at once, so that the next one starts from a clean slate).
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from millstream_operator.handlers.watching import Watching, registry_for, settings_for
from millstream_operator.shell.access import AccessCache, load_access
from millstream_operator.shell.api import ApiClient
from millstream_operator.shell.cache import Key, ObjectCache, owner_of
from millstream_operator.shell.children import ChildWriter
from millstream_operator.shell.credentials import CredentialReader
from millstream_operator.shell.endpoint import serve
from millstream_operator.shell.events import EventRecorder
from millstream_operator.shell.kinds import PARENTS, WATCHED
from millstream_operator.shell.lease import Elector, LeaseLost
from millstream_operator.shell.metrics import Metrics
from millstream_operator.shell.parents import StatusWriter
from millstream_operator.shell.pods import PodReader
from millstream_operator.shell.queue import KeyedQueue
from millstream_operator.shell.resync import Resync, wait_for_definitions
from millstream_operator.shell.store import StoreReader
from millstream_operator.shell.workers import Workers
from millstream_operator.shell.workspace import Images, Workspace

if TYPE_CHECKING:
    from millstream_operator.shell.kinds import Body

log = logging.getLogger(__name__)

FINISH_SECONDS: Final = 12.0  # for what is being worked on when a signal comes
LOST_SECONDS: Final = 5.0  # from a lost Lease to a dead process, whatever hangs
LAG_STEP_SECONDS: Final = 0.5
LAG_WINDOW: Final = 120  # steps: the worst of the last minute is shown


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    identity: str
    lease_namespace: str
    lease_name: str
    namespaces: tuple[str | None, ...]  # (None,) for all
    port: int
    images: Images
    kubeconfig: str | None = None


class Process:
    """One operator process."""

    def __init__(self, options: Options) -> None:
        """Nothing runs yet."""
        self._options = options
        self._metrics = Metrics()
        self._cache = ObjectCache()
        self._queue: KeyedQueue[Key] = KeyedQueue(time.monotonic, random.random)
        self._metrics.watch_queue(
            lambda: self._queue.depth,
            lambda: self._queue.oldest_seconds,
            lambda: self._queue.retrying,
        )
        self._ended: asyncio.Future[str] | None = None
        self._watching: Watching | None = None
        self._resync: Resync | None = None

    async def run(self) -> int:
        """Run until a signal comes or the basis is lost; returns the exit status."""
        options = self._options
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        access = AccessCache(lambda: load_access(options.kubeconfig), time.monotonic)
        agent = f"millstream-operator/{options.identity}"
        async with ApiClient(access, agent) as api, aiohttp.ClientSession() as pods:
            runner = await serve(options.port, self._metrics, self._against_life, self._unready)
            try:
                return await self._lead(api, pods, stop)
            finally:
                await runner.cleanup()

    async def _lead(self, api: ApiClient, pods: aiohttp.ClientSession, stop: asyncio.Event) -> int:
        assert self._ended is not None
        options = self._options
        wall = time.time  # noqa: TID251 - the outermost shell hands the clock in
        children = ChildWriter(api, self._cache)
        stores = StoreReader(time.monotonic, self._queue.add, f"operator/{options.identity}")
        work = Workspace(
            api=api,
            cache=self._cache,
            children=children,
            statuses=StatusWriter(api, self._cache),
            pods=PodReader(pods),
            stores=stores,
            credentials=CredentialReader(api, time.monotonic),
            events=EventRecorder(api, wall, options.identity),
            metrics=self._metrics,
            images=options.images,
            wall=wall,
        )
        self._resync = Resync(
            api,
            self._cache,
            children,
            self._queue,
            options.namespaces,
            self._metrics,
            random.random,
        )
        elector = Elector(
            api, options.lease_namespace, options.lease_name, options.identity,
            time.monotonic, wall,
        )  # fmt: skip
        api.fence = elector.check
        stopping = asyncio.create_task(stop.wait())
        lag = asyncio.create_task(self._watch_lag())
        try:
            preparing = asyncio.create_task(self._prepare(api, elector))
            await _first_of(preparing, stopping, self._ended)
            if stopping.done():
                preparing.cancel()
                return 0
            if not preparing.done():
                preparing.cancel()
                log.error("stopping at once: %s", self._ended.result())
                return 1
            preparing.result()
            return await self._work(work, elector, stopping)
        finally:
            lag.cancel()
            stopping.cancel()
            self._queue.close()
            await elector.release()
            await stores.close()
            if self._watching is not None:
                await asyncio.to_thread(self._watching.stop, 3.0)

    async def _prepare(self, api: ApiClient, elector: Elector) -> None:
        """Know the world, then lead."""
        assert self._resync is not None
        await wait_for_definitions(api, self._options.namespaces)
        self._start_watching(asyncio.get_running_loop())
        await self._resync.until_synced()
        await elector.acquire()

    async def _work(self, work: Workspace, elector: Elector, stopping: asyncio.Task[bool]) -> int:
        """Lead until something ends it."""
        assert self._ended is not None
        assert self._resync is not None
        self._metrics.leading.set(1)
        workers = asyncio.create_task(Workers(work, self._queue, time.monotonic).run())
        holding = asyncio.create_task(elector.hold())
        resyncing = asyncio.create_task(self._resync.run())
        parts = {workers, holding, resyncing}
        await _first_of(*parts, stopping, self._ended)
        self._metrics.leading.set(0)
        self._queue.close()
        resyncing.cancel()
        if stopping.done():
            log.info("asked to stop")
            await asyncio.wait({workers}, timeout=FINISH_SECONDS)
            status = 0
        else:
            reason = _reason(holding, self._ended)
            log.error("stopping at once: %s", reason)
            # Whatever hangs, be it this very loop, the process is gone soon.
            end = threading.Timer(LOST_SECONDS, os._exit, (1,))
            end.daemon = True
            end.start()
            status = 1
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        return status

    def _start_watching(self, loop: asyncio.AbstractEventLoop) -> None:
        def deliver(kind: str, body: Body) -> None:
            loop.call_soon_threadsafe(self._changed, kind, body)

        def ended(reason: str) -> None:
            loop.call_soon_threadsafe(self._watching_ended, reason)

        load = self._options.kubeconfig
        registry = registry_for(WATCHED, deliver, lambda: load_access(load))
        settings = settings_for(random.random)
        self._watching = Watching(registry, settings, self._options.namespaces, ended)
        self._watching.start()

    def _changed(self, kind: str, body: Body) -> None:
        """An event from a watch: what is known changes, and somebody needs a look."""
        self._metrics.events.labels(body["kind"]).inc()
        meta = body["metadata"]
        if not (self._cache.remove(body) if kind == "DELETED" else self._cache.put(body)):
            return
        parent = body["kind"] in {each.kind for each in PARENTS}
        key = Key(body["kind"], meta["namespace"], meta["name"]) if parent else owner_of(body)
        if key is not None:
            self._queue.add(key)

    def _watching_ended(self, reason: str) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(f"the watches ended ({reason})")

    def _against_life(self) -> str:
        ended = self._watching is not None and not self._watching.alive
        return "the watches ended" if ended else ""

    def _unready(self) -> str:
        synced = self._resync is not None and self._resync.synced
        return "" if synced else "the objects are not listed yet"

    async def _watch_lag(self) -> None:
        """How late this loop wakes: something blocks it where that is much."""
        worst: list[float] = []
        while True:
            due = time.monotonic() + LAG_STEP_SECONDS
            await asyncio.sleep(LAG_STEP_SECONDS)
            worst = [*worst[1 - LAG_WINDOW :], time.monotonic() - due]
            self._metrics.loop_lag.set(max(worst))


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(set(futures), return_when=asyncio.FIRST_COMPLETED)


def _reason(holding: asyncio.Task[None], ended: asyncio.Future[str]) -> str:
    if ended.done():
        return ended.result()
    if holding.done() and isinstance(error := holding.exception(), LeaseLost):
        return str(error)
    return "a part of the operator ended by itself"
