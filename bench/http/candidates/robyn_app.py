"""Robyn: `python robyn_app.py PORT --processes 1 --workers 1`."""

import sys

from answer import ANSWER, JSON
from robyn import Headers, Request, Response, Robyn

PORT = int(sys.argv.pop(1))  # Robyn reads the others

app = Robyn(__file__)


@app.get("/v1/rank")
@app.post("/v1/rank")
async def rank(request: Request) -> Response:
    """Answer one request."""
    assert request.body is not None
    return Response(200, Headers({"content-type": JSON}), ANSWER)


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=PORT)
