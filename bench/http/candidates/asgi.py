"""An ASGI application that reads the body and answers; run by granian, hypercorn and uvicorn."""

from answer import ANSWER, JSON

HEADERS = [(b"content-type", JSON.encode()), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope, receive, send) -> None:
    """Answer one request, whatever it is."""
    if scope["type"] == "lifespan":
        while True:
            asked = (await receive())["type"]
            await send({"type": f"{asked}.complete"})
            if asked == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
