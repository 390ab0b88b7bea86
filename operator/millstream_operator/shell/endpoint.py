"""`/livez`, `/readyz` and `/metrics` of the operator itself.

Alive means that the loops turn; an API server that is away is no reason to be restarted. Ready
means that the world is known; a standby is ready too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from millstream_operator.shell.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from collections.abc import Callable


async def serve(
    port: int, metrics: Metrics, alive: Callable[[], str], ready: Callable[[], str]
) -> web.AppRunner:
    """Listen until the runner returned is cleaned up.

    Args:
        port: on all addresses.
        metrics: what to show.
        alive: what speaks against being alive; "" for nothing.
        ready: the same for being ready.
    """

    async def answer(against: str) -> web.Response:
        return web.Response(status=503 if against else 200, text=f"{against or 'ok'}\n")

    async def livez(_: web.Request) -> web.Response:
        return await answer(alive())

    async def readyz(_: web.Request) -> web.Response:
        return await answer(ready())

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    return runner
