"""Our server's connections and nothing behind them, on one event loop: `python ours.py PORT`.

Runs where millstream is installed, not among the packages of the others.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from answer import ANSWER

from millstream_serving.http.connection import Connection
from millstream_serving.http.messages import Dates, HttpRequest
from millstream_serving.http.replies import Reply


async def answer(_: HttpRequest) -> Reply:
    """Answer one request, whatever it is."""
    return Reply(200, ANSWER)


async def serve(port: int) -> None:
    """Answer on this port until the process is ended."""
    dates, open_ones = Dates(time.time), set[Connection]()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(lambda _: None, answer, dates, open_ones, lambda: None),
        "127.0.0.1",
        port,
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
