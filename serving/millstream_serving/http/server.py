"""Listens on every lane, and leaves without losing a request.

The kernel deals new connections out to the lanes (SO_REUSEPORT); each answers on its own event
loop. Signals are not taken, so that a replica can say that it leaves while it still answers.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from millstream_serving.http.connection import Connection
from millstream_serving.http.messages import Dates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from millstream_serving.http.app import App
    from millstream_serving.ranking.lanes import Lane

BACKLOG: Final = 1024


class HttpServer:
    """Serves one application on one port until it is drained."""

    def __init__(
        self,
        app: App,
        lanes: Sequence[Lane],
        host: str,
        port: int,
        clock: Callable[[], float],
    ) -> None:
        """Nothing listens yet.

        Args:
            app: answers.
            lanes: listen.
            host: address to listen on.
            port: to listen on.
            clock: Unix seconds.
        """
        self._app = app
        self._host = host
        self._port = port
        self._clock = clock
        self._leaving = {lane: asyncio.Event() for lane in lanes}
        # Lanes end together: what one has been asked before its end, another may be doing for it.
        self._over = {lane: asyncio.Event() for lane in lanes}
        self._still_answering = len(self._over)
        self._lock = threading.Lock()

    async def serve(self) -> None:
        """Listen and answer; returns after `stop`.

        Raises:
            OSError: the address cannot be listened on.
        """
        listeners = _listeners(self._host, self._port, len(self._leaving))
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(listeners), thread_name_prefix="lane") as threads:
            lanes = zip(self._leaving, listeners, strict=True)
            try:
                await asyncio.gather(
                    *(loop.run_in_executor(threads, self._run, *lane) for lane in lanes)
                )
            finally:
                self.stop()

    async def drain(self, linger: float) -> None:
        """Go on answering until callers have gone, then stop listening.

        What is in flight is answered before `serve` ends, which REQUEST_SECONDS bounds.

        Args:
            linger: seconds to answer on, for those who do not know yet.
        """
        self._app.is_draining = True
        await asyncio.sleep(linger)
        self.stop()

    def stop(self) -> None:
        """Stop listening; what is in flight is answered."""
        for lane, leaving in self._leaving.items():
            if not lane.loop.is_closed():
                lane.loop.call_soon_threadsafe(leaving.set)

    def _run(self, lane: Lane, listener: socket.socket) -> None:
        """On a lane's thread."""
        try:
            lane.loop.run_until_complete(self._serve(lane, listener))
        finally:
            lane.loop.close()

    async def _serve(self, lane: Lane, listener: socket.socket) -> None:
        leaving, connections = self._leaving[lane], set[Connection]()
        all_gone = asyncio.Event()

        def gone() -> None:
            if leaving.is_set() and not connections:
                all_gone.set()

        dates = Dates(self._clock)
        refuse, answer = partial(self._app.refuse, lane), partial(self._app.answer, lane)
        server = await lane.loop.create_server(
            lambda: Connection(refuse, answer, dates, connections, gone),
            sock=listener,
            backlog=BACKLOG,
        )
        await leaving.wait()
        server.close()
        for connection in list(connections):
            connection.leave()
        gone()
        await all_gone.wait()
        with self._lock:
            self._still_answering -= 1
            is_last = self._still_answering == 0
        if is_last:
            for each, over in self._over.items():
                each.loop.call_soon_threadsafe(over.set)
        await self._over[lane].wait()


def _listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets that share a port; raises OSError where another program has it."""
    try:
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # Sharing is for the lanes: by itself it would let in a second server too.
        socket.create_server((host, port), family=family).close()
        return [
            socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=True)
            for _ in range(count)
        ]
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
