"""A steady load of real questions: events of the stream, asked about just after they happen.

Most requests rank the item of an event among others, so that the scores users got can be held
against what users then did; the rest ask for recommendations. The pace is open-loop: a slow
answer delays no later request.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, Final

import httpx

from demo.answers import Answer, Question
from millstream_api.names import HEADER_BATCH, HEADER_VERSION
from millstream_trainer.sources.synthetic import SyntheticStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.answers import Log
    from millstream_api.settings import TrainerSettings

REQUESTS_PER_SECOND: Final = 30
RECOMMEND_SHARE: Final = 0.2
RANKED_ITEMS: Final = 20
TIMEOUT_SECONDS: Final = 5.0


class Audience:
    """Turns the event stream into questions, with each user's history as of the event."""

    def __init__(self, settings: TrainerSettings, seed: int = 0) -> None:
        assert settings.synthetic is not None
        self._stream = SyntheticStream(settings.synthetic)
        self._items = settings.synthetic.items
        self._history: defaultdict[int, deque[int]] = defaultdict(
            lambda: deque(maxlen=settings.history_length)
        )
        self._random = random.Random(seed)

    def questions(self, now: float, count: int) -> list[Question]:
        """About `count` of the events that happened since the last call."""
        found = list(self._new_questions(now))
        return self._random.sample(found, min(count, len(found)))

    def others(self) -> list[int]:
        """Items to rank an event's item among."""
        return self._random.sample(range(1, self._items + 1), RANKED_ITEMS - 1)

    def wants_recommendation(self) -> bool:
        """Whether the next request is a recommendation."""
        return self._random.random() < RECOMMEND_SHARE

    def _new_questions(self, now: float) -> Iterator[Question]:
        while records := self._stream.poll(4096, now).records:
            for record in records:
                history = self._history[record["user_id"]]
                yield Question(
                    "rank",
                    record["user_id"],
                    record["item_id"],
                    tuple(history),
                    record["label"],
                    record["context"],
                )
                if record["label"]:
                    history.append(record["item_id"])


async def send_traffic(url: str, audience: Audience, log: Log, stop: asyncio.Event) -> None:
    """Ask until told to stop; every answer and every failure is logged."""
    audience.questions(time.time(), 0)  # catch up with what users did so far
    limits = httpx.Limits(max_connections=64)
    async with (
        httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits) as client,
        asyncio.TaskGroup() as tasks,
    ):
        while not stop.is_set():
            second = time.time()
            for number, question in enumerate(audience.questions(second, REQUESTS_PER_SECOND)):
                pause = second + number / REQUESTS_PER_SECOND - time.time()
                await asyncio.sleep(max(pause, 0))
                tasks.create_task(_ask(client, audience, question, log))
            await asyncio.sleep(max(second + 1 - time.time(), 0))


async def _ask(client: httpx.AsyncClient, audience: Audience, question: Question, log: Log) -> None:
    sent = time.time()
    try:
        if audience.wants_recommendation():
            question = Question("recommend", question.user, context=question.context)
            context = json.dumps(question.context)
            response = await client.get(
                f"/recommend/{question.user}", params={"k": 10, "context": context}
            )
        else:
            body = {
                "user_id": question.user,
                "items": [question.item, *audience.others()],
                "history": question.history,
                "context": question.context,
            }
            response = await client.post("/v1/rank", json=body)
    except httpx.HTTPError as error:
        log.add(Answer(question, sent, time.time(), 0, complaint=repr(error)))
        return
    log.add(_read(question, sent, response))


def _read(question: Question, sent: float, response: httpx.Response) -> Answer:
    complaint, score = "", None
    if response.status_code != 200:
        complaint = response.text[:200]
    elif question.kind == "rank":
        ranked: list[dict[str, Any]] = response.json()["items"]
        score = next(entry["score"] for entry in ranked if int(entry["id"]) == question.item)
    return Answer(
        question,
        sent,
        time.time(),
        response.status_code,
        version=_number(response.headers.get(HEADER_VERSION)),
        batch=_number(response.headers.get(HEADER_BATCH)),
        score=score,
        complaint=complaint,
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
