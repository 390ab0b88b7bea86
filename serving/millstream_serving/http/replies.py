"""Answers before they are sent: rankings, and refusals with a reason and a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from millstream_api.names import HEADER_BATCH, HEADER_VERSION, HEADER_WATERMARK

if TYPE_CHECKING:
    from millstream_serving.http.formats import Format
    from millstream_serving.replica import Ranking

Headers = tuple[tuple[str, str], ...]

RETRY: Final = "retry-after"
NONE: Final = "none"  # in headers, where there is no version or batch
NOBODY: Final = ((HEADER_VERSION, NONE), (HEADER_BATCH, NONE))


@dataclass(frozen=True)
class Reply:
    """An answer before it is sent."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: str = "application/json"
    is_last: bool = False  # on its connection


def who(version: int, batch: int | None) -> Headers:
    """The headers that say who answered."""
    return ((HEADER_VERSION, str(version)), (HEADER_BATCH, NONE if batch is None else str(batch)))


def headers_of(ranking: Ranking) -> Headers:
    """The headers of an answer to a query."""
    learned = NONE if ranking.watermark is None else f"{ranking.watermark:.3f}"
    return (*who(ranking.version, ranking.batch), (HEADER_WATERMARK, learned))


def ranked(ranking: Ranking, form: Format) -> Reply:
    """The answer to POST /v1/rank and to GET /recommend."""
    items = [
        {"id": each, "score": score}
        for each, score in zip(ranking.ids, ranking.scores, strict=True)
    ]
    body: dict[str, Any] = {"version": ranking.version, "batch": ranking.batch, "items": items}
    if ranking.ignored:
        # No error: who sends a value before a model reads it, or after a rollback to a model that
        # does not, is right to. But who has mistyped a name must see it at the first try.
        body["ignored"] = ranking.ignored
    return Reply(200, form.encode(body), headers_of(ranking), form.content_type)


def refusal(
    status: int, reason: str, message: str, *, retry: int | None = None, headers: Headers = ()
) -> Reply:
    """A reason for programs and a sentence for people.

    Args:
        status: of HTTP.
        reason: one word in CamelCase.
        message: what to do about it.
        retry: after how many seconds it is worth trying again.
        headers: to send along.
    """
    body = orjson.dumps({"error": {"reason": reason, "message": message}})
    return Reply(status, body, with_retry(headers, retry))


def with_retry(headers: Headers, seconds: int | None) -> Headers:
    """These headers, and when to try again."""
    return headers if seconds is None else (*headers, (RETRY, str(seconds)))


def wrong_method(allowed: str) -> Reply:
    """What is here is asked for in another way."""
    return refusal(405, "WrongMethod", f"use {allowed} here", headers=(("allow", allowed),))
