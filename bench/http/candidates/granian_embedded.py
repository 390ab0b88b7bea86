"""granian inside this process, whose event loop answers: `… rsgi|asgi PORT`."""

import sys

import asgi
import uvloop
from answer import ANSWER, JSON
from granian.constants import HTTPModes
from granian.server.embed import Server

HEADERS = [("content-type", JSON)]


async def rsgi(_scope, protocol) -> None:
    """Answer one request, whatever it is."""
    await protocol()
    protocol.response_bytes(200, HEADERS, ANSWER)


if __name__ == "__main__":
    interface, port = sys.argv[1:]
    app = {"rsgi": rsgi, "asgi": asgi.app}[interface]
    server = Server(
        app,
        address="127.0.0.1",
        port=int(port),
        interface=interface,
        http=HTTPModes.http1,
        websockets=False,
        log_enabled=False,
    )
    uvloop.run(server.serve())
