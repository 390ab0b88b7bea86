"""FastAPI: one worker process per core, one torch thread each; `uvicorn fastapi_app:app`."""

from fastapi import FastAPI
from pydantic import BaseModel
from ranker import from_environment

app = FastAPI()
ranker = from_environment()


class Question(BaseModel):
    """Whose ranking of what."""

    user_id: int
    items: list[int]
    history: list[int]
    k: int = 10


@app.get("/healthz")
async def healthz() -> dict[str, bool]:
    """Whether it answers."""
    return {"ok": True}


# Not a thread for each request: the model takes the core anyway, and switching costs more.
@app.post("/v1/rank")
async def rank(question: Question) -> dict[str, list]:
    """The best items."""
    return ranker.rank(question.user_id, question.items, question.history, question.k)
