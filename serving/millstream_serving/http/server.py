"""granian inside this process: its Rust threads do the HTTP, one asyncio loop runs the application.

The embedded server is the only one of granian's that forks nothing; signals stay ours, so that a
replica can say that it leaves while it still answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server

if TYPE_CHECKING:
    from millstream_serving.http.app import App

BACKLOG: Final = 1024


class HttpServer:
    """Serves one application on one port until it is drained."""

    def __init__(self, app: App, host: str, port: int) -> None:
        """Nothing listens yet."""
        self._app = app
        self._address = f"{host}:{port}"
        self._server = Server(
            app,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            log_enabled=False,
        )

    async def serve(self) -> None:
        """Listen and answer; returns after `drain`.

        Raises:
            OSError: the address cannot be listened on.
        """
        try:
            await self._server.serve()
        except RuntimeError as error:
            # granian appends a stack backtrace of its own to the one line that says it.
            reason = str(error).partition("\n")[0]
            raise OSError(f"cannot listen on {self._address}: {reason}") from error

    async def drain(self, linger: float) -> None:
        """Go on answering until callers have gone, then stop listening.

        granian answers what is in flight before it ends; BODY_SECONDS bounds how long that takes.

        Args:
            linger: seconds to answer on, for those who do not know yet.
        """
        self._app.is_draining = True
        await asyncio.sleep(linger)
        self._server.stop()
