"""aiohttp's own server: `python aiohttp_app.py PORT`."""

import sys

import uvloop
from aiohttp import web
from answer import ANSWER, JSON


async def rank(request: web.Request) -> web.Response:
    """Answer one request."""
    await request.read()
    return web.Response(body=ANSWER, content_type=JSON)


if __name__ == "__main__":
    app = web.Application()
    app.router.add_route("*", "/v1/rank", rank)
    web.run_app(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop(),
    )
