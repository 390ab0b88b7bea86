"""Flask: one worker process per core, one torch thread each; `gunicorn flask_app:app`."""

from flask import Flask, request
from ranker import from_environment

app = Flask(__name__)
ranker = from_environment()


@app.get("/healthz")
def healthz() -> dict[str, bool]:
    """Whether it answers."""
    return {"ok": True}


@app.post("/v1/rank")
def rank() -> dict[str, list]:
    """The best items."""
    asked = request.get_json()
    return ranker.rank(asked["user_id"], asked["items"], asked["history"], asked["k"])
