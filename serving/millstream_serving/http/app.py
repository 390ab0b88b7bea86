"""The HTTP face of a replica: requests to answers.

    POST /v1/rank   GET /recommend/{user_id}
    /v2 …                                      the Open Inference Protocol, see `inference`
    GET /release   /healthz   /readyz   /metrics   /openapi.json

Whatever goes wrong, the answer is JSON with a reason for programs and a sentence for people.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

import orjson

from millstream_api.names import HEADER_BUDGET
from millstream_serving.http import inference
from millstream_serving.http.formats import JSON, format_of_answer, format_of_body
from millstream_serving.http.inference import Inference
from millstream_serving.http.metrics import CONTENT_TYPE, Metrics
from millstream_serving.http.openapi import description
from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.replies import (
    NOBODY,
    NONE,
    Headers,
    Reply,
    ranked,
    refusal,
    who,
    wrong_method,
)
from millstream_serving.http.requests import read_budget, read_rank, read_recommend
from millstream_serving.ranking.answers import IdOutOfRange
from millstream_serving.ranking.lanes import Busy, TooLate
from millstream_serving.replica import NonFiniteScores, NoVersion, Ranking, Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_serving.http.messages import HttpRequest
    from millstream_serving.ranking.answers import Query
    from millstream_serving.ranking.lanes import Lane
    from millstream_serving.ranking.marks import Marks
    from millstream_serving.telemetry.request_traces import RequestTraces

    Question = tuple[Query, Callable[[Ranking], Reply]]  # and how to write its answer

log = logging.getLogger(__name__)

RANK: Final = "/v1/rank"
RECOMMEND: Final = "/recommend/"
INFERENCE: Final = "/v2"
TRACEPARENT: Final = "traceparent"  # of W3C Trace Context


class App:
    """One for the life of the process; every lane calls it on its own thread."""

    def __init__(
        self,
        replica: Replica,
        metrics: Metrics,
        stopwatch: Callable[[], float],
        traces: RequestTraces | None = None,
    ) -> None:
        """Answer for this replica.

        Args:
            replica: has the answers.
            metrics: of it.
            stopwatch: seconds of a clock that never jumps.
            traces: told of requests, where traces are asked for.
        """
        self.is_draining = False
        self._replica = replica
        self._metrics = metrics
        self._stopwatch = stopwatch
        self._traces = traces
        software = _software()
        self._inference = Inference(replica, software)
        self._description = orjson.dumps(description(replica.model, software))

    def refuse(self, lane: Lane, request: HttpRequest) -> Reply | None:
        """The answer to a query that this lane has no room for; None to all others.

        Refusing must cost next to nothing, or those who are answered pay for it: a query is not
        read, nor is its path to the end. One without a body is not refused here, because its
        answer may be remembered.
        """
        path = request.path
        is_inference = path.startswith("/v2/") and path.endswith("/infer")
        if not (is_inference or path == RANK) or request.method != "POST":
            return None
        start = self._stopwatch()
        try:
            request.content()
            budget = read_budget(request.header(HEADER_BUDGET))
        except BadRequest:
            return None  # `answer` says so
        if self._replica.has_room(lane, budget):
            return None
        reply = _overloaded(inference.refusal if is_inference else refusal)
        if self._traces is not None and (marks := self._traces.begin(request.header(TRACEPARENT))):
            self._traces.end(marks, _name_of(request), reply.status, dict(reply.headers))
        self._replica.tallies.count(NONE, "", reply.status, self._stopwatch() - start)
        return self._last_if_draining(reply)

    async def answer(self, lane: Lane, request: HttpRequest) -> Reply:
        """The answer to one request that this lane has got."""
        try:
            reply = await self._reply(lane, request)
        except Exception:
            log.exception("%s %s failed in an unforeseen way", request.method, request.path)
            refuse = inference.refusal if request.path.startswith(INFERENCE) else refusal
            reply = refuse(500, "Internal", "this is a fault of the server", headers=NOBODY)
        return self._last_if_draining(reply)

    def _last_if_draining(self, reply: Reply) -> Reply:
        # Callers that keep connections open move to another replica with this.
        return replace(reply, is_last=True) if self.is_draining else reply

    async def _reply(self, lane: Lane, request: HttpRequest) -> Reply:
        path, method = request.path, request.method
        if path == RANK:
            if method != "POST":
                return wrong_method("POST")
            return await self._ranked(lane, request, _read_rank)
        if path == INFERENCE or path.startswith("/v2/"):
            reply = self._inference.reply(method, path)
            if reply is None:
                reading = self._inference.read
                return await self._ranked(lane, request, reading, inference.refusal)
            return reply
        if method != "GET":
            return wrong_method("GET")
        if path.startswith(RECOMMEND):
            return await self._ranked(lane, request, _read_recommend)
        match path:
            case "/release":
                return Reply(200, self._replica.report().canonical())
            case "/healthz":
                return Reply(200, b'{"status":"ok"}')
            case "/readyz":
                reason = self._replica.unready_because()
                body = orjson.dumps({"ready": reason is None, "reason": reason or "Ready"})
                return Reply(200 if reason is None else 503, body)
            case "/metrics":
                return Reply(200, self._metrics.text(), content_type=CONTENT_TYPE)
            case "/openapi.json":
                return Reply(200, self._description)
        return refusal(
            404,
            "NoSuchPath",
            "there is POST /v1/rank and GET /recommend/{user_id}, /release, /healthz, /readyz, "
            "/metrics, /v2, /openapi.json; the last one describes them all",
        )

    async def _ranked(
        self,
        lane: Lane,
        request: HttpRequest,
        read: Callable[[HttpRequest], Question],
        refuse: Callable[..., Reply] = refusal,
    ) -> Reply:
        if self._traces is None:
            return await self._answered(lane, request, read, refuse)
        marks = self._traces.begin(request.header(TRACEPARENT))
        status: int = 500
        headers: Headers = NOBODY
        try:
            reply = await self._answered(lane, request, read, refuse, marks)
            status, headers = reply.status, reply.headers
            return reply
        finally:
            if marks is not None:
                self._traces.end(marks, _name_of(request), status, dict(headers))

    async def _answered(
        self,
        lane: Lane,
        request: HttpRequest,
        read: Callable[[HttpRequest], Question],
        refuse: Callable[..., Reply],
        marks: Marks | None = None,
    ) -> Reply:
        start = self._stopwatch()
        try:
            budget = read_budget(request.header(HEADER_BUDGET))
            request.content()  # what is too large is refused before anybody looks what it is
            query, write = read(request)
            if marks is not None:
                marks.mark("read")
            ranking = await self._replica.rank(query, lane, budget, marks)
        except BadRequest as error:
            reply = refuse(error.status, error.reason, str(error), headers=NOBODY)
        except IdOutOfRange as error:
            reply = refuse(400, "IdOutOfRange", str(error), headers=NOBODY)
        except NoVersion as error:
            reply = refuse(503, "NoVersion", f"{error}: try again later", retry=2, headers=NOBODY)
        except Busy:
            reply = _overloaded(refuse)
        except TooLate:
            reply = refuse(
                503,
                "TooLate",
                f"its turn did not come within its latency budget: try again, run more replicas, "
                f"or send {HEADER_BUDGET} where answers may take longer",
                retry=1,
                headers=NOBODY,
            )
        except NonFiniteScores as error:
            by = who(error.version.version, error.batch)
            return refuse(500, "NonFiniteScores", str(error), headers=by)
        else:
            return write(ranking)
        self._replica.tallies.count(NONE, "", reply.status, self._stopwatch() - start)
        return reply


@cache
def _overloaded(refuse: Callable[..., Reply]) -> Reply:
    return refuse(
        503,
        "Overloaded",
        "more queries wait than can be answered in time: try again, or run more replicas",
        retry=1,
        headers=NOBODY,
    )


def _read_rank(request: HttpRequest) -> Question:
    form = format_of_body(request.header("content-type"))
    answer = format_of_answer(request.header("accept"), form)
    return read_rank(request.content(), form), partial(ranked, form=answer)


def _read_recommend(request: HttpRequest) -> Question:
    answer = format_of_answer(request.header("accept"), JSON)
    query = read_recommend(request.path.removeprefix(RECOMMEND), request.query)
    return query, partial(ranked, form=answer)


def _name_of(request: HttpRequest) -> str:
    """What is asked, without what callers choose: names of spans are counted and compared."""
    if request.path.startswith(RECOMMEND):
        return "GET /recommend/{user_id}"
    return "POST /v1/rank" if request.path == RANK else "POST /v2/models/{model}/infer"


def _software() -> str:
    try:
        return version("millstream")
    except PackageNotFoundError:
        return "source"
