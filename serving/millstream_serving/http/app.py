"""The HTTP face of a replica, as an RSGI application.

    POST /v1/rank   GET /recommend/{user_id}   GET /release  /healthz  /readyz  /metrics

Whatever goes wrong, the answer is JSON with a reason for programs and a sentence for people.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from millstream_api.names import HEADER_BATCH, HEADER_VERSION, HEADER_WATERMARK
from millstream_serving.http.metrics import CONTENT_TYPE, Metrics
from millstream_serving.http.requests import (
    LARGEST_BODY,
    BadRequest,
    read_rank,
    read_recommend,
)
from millstream_serving.ranking.answers import IdOutOfRange
from millstream_serving.ranking.pool import Busy
from millstream_serving.replica import NonFiniteScores, NoVersion, Ranking, Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from granian.rsgi import HTTPProtocol, Scope

    from millstream_serving.ranking.answers import Query

log = logging.getLogger(__name__)

BODY_SECONDS: Final = 10.0  # a caller that takes longer to send its body is let go
# A connection that is closed while the caller still sends may be reset and our answer lost with it
# (RFC 9112, 9.6), so a body that is somewhat too large is received to its end, and not kept.
LARGEST_RECEIVED: Final = 16 * LARGEST_BODY
RECOMMEND: Final = "/recommend/"
NONE: Final = "none"  # in headers, where there is no version or batch


@dataclass(frozen=True)
class Reply:
    """An answer before it is sent."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


class App:
    """Callable by granian; one for the life of the process."""

    def __init__(self, replica: Replica, metrics: Metrics, stopwatch: Callable[[], float]) -> None:
        """Answer for this replica."""
        self.is_draining = False
        self._replica = replica
        self._metrics = metrics
        self._stopwatch = stopwatch

    async def __rsgi__(self, scope: Scope, protocol: HTTPProtocol) -> None:
        """Answer one request."""
        reply = await self._safe_reply(scope, protocol)
        headers = [("content-type", reply.content_type), *reply.headers]
        if self.is_draining:
            # Callers that keep connections open move to another replica with this.
            headers.append(("connection", "close"))
        protocol.response_bytes(reply.status, headers, reply.body)

    async def _safe_reply(self, scope: Scope, protocol: HTTPProtocol) -> Reply:
        try:
            return await self._reply(scope, protocol)
        except Exception:
            log.exception("%s %s failed in an unforeseen way", scope.method, scope.path)
            return _error(500, "Internal", "this is a fault of the server", who=_NOBODY)

    async def _reply(self, scope: Scope, protocol: HTTPProtocol) -> Reply:
        path, method = scope.path, scope.method
        if path == "/v1/rank":
            if method != "POST":
                return _wrong_method("POST")
            return await self._ranked(lambda: _read_rank(scope, protocol))
        if method != "GET":
            return _wrong_method("GET")
        if path.startswith(RECOMMEND):
            return await self._ranked(lambda: _read_recommend(scope))
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
        return _error(
            404,
            "NoSuchPath",
            "there is POST /v1/rank and GET /recommend/{user_id}, /release, /healthz, /readyz, "
            "/metrics",
        )

    async def _ranked(self, read: Callable[[], Any]) -> Reply:
        start = self._stopwatch()
        try:
            query: Query = await read()
            ranking = await self._replica.rank(query)
        except BadRequest as error:
            reply = _error(error.status, error.reason, str(error), who=_NOBODY)
        except IdOutOfRange as error:
            reply = _error(400, "IdOutOfRange", str(error), who=_NOBODY)
        except NoVersion as error:
            reply = _error(503, "NoVersion", f"{error}: try again later", retry=2, who=_NOBODY)
        except Busy:
            reply = _error(
                503,
                "Overloaded",
                "as many queries wait as may wait: try again, or run more replicas",
                retry=1,
                who=_NOBODY,
            )
        except NonFiniteScores as error:
            return _error(
                500, "NonFiniteScores", str(error), who=_who(error.version.version, error.batch)
            )
        else:
            return _answer(ranking)
        self._replica.tallies.count(NONE, "", reply.status, self._stopwatch() - start)
        return reply


_NOBODY: Final = ((HEADER_VERSION, NONE), (HEADER_BATCH, NONE))


def _who(version: int, batch: int | None) -> tuple[tuple[str, str], ...]:
    return ((HEADER_VERSION, str(version)), (HEADER_BATCH, NONE if batch is None else str(batch)))


async def _read_rank(scope: Scope, protocol: HTTPProtocol) -> Query:
    too_large = BadRequest(
        "BodyTooLarge", f"the body may have {LARGEST_BODY} bytes: send fewer items", 413
    )
    announced = scope.headers.get("content-length")
    if announced is not None and int(announced) > LARGEST_RECEIVED:
        raise too_large
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if announced is not None and int(announced) <= LARGEST_BODY:
                return read_rank(await protocol())
            body, received = bytearray(), 0
            async for chunk in protocol:
                received += len(chunk)
                if received <= LARGEST_BODY:
                    body += chunk
                elif received > LARGEST_RECEIVED:
                    raise too_large
    except TimeoutError as error:
        raise BadRequest(
            "BodyTooSlow", f"the body did not arrive within {BODY_SECONDS:.0f} s", 408
        ) from error
    if received > LARGEST_BODY:
        raise too_large
    return read_rank(bytes(body))


async def _read_recommend(scope: Scope) -> Query:
    return read_recommend(scope.path.removeprefix(RECOMMEND), scope.query_string)


def _answer(ranking: Ranking) -> Reply:
    items = [
        {"id": each, "score": score}
        for each, score in zip(ranking.ids, ranking.scores, strict=True)
    ]
    body: dict[str, Any] = {"version": ranking.version, "batch": ranking.batch, "items": items}
    if ranking.ignored:
        # No error: who sends a value before a model reads it, or after a rollback to a model that
        # does not, is right to. But who has mistyped a name must see it at the first try.
        body["ignored"] = ranking.ignored
    learned = NONE if ranking.watermark is None else f"{ranking.watermark:.3f}"
    headers = (*_who(ranking.version, ranking.batch), (HEADER_WATERMARK, learned))
    return Reply(200, orjson.dumps(body), headers)


def _error(
    status: int,
    reason: str,
    message: str,
    *,
    retry: int | None = None,
    who: tuple[tuple[str, str], ...] = (),
) -> Reply:
    headers = who if retry is None else (*who, ("retry-after", str(retry)))
    body = orjson.dumps({"error": {"reason": reason, "message": message}})
    return Reply(status, body, headers)


def _wrong_method(allowed: str) -> Reply:
    reply = _error(405, "WrongMethod", f"use {allowed} here")
    return Reply(reply.status, reply.body, (("allow", allowed),))
