"""From the bytes of a request to a query, or to one sentence on what to write instead.

Everything is bounded here, before any work is done for it. Unknown fields are refused: a typing
error that is silently ignored costs its author a day.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from millstream_core.features import BadContext, Context, read_context
from millstream_serving.ranking.answers import Id, Query

LARGEST_BODY: Final = 256 * 1024  # bytes
MOST_ITEMS: Final = 1000
LONGEST_HISTORY: Final = 500
LARGEST_K: Final = 1000
DEFAULT_K: Final = 10

_RANK_FIELDS: Final = frozenset({"user_id", "items", "history", "context", "k"})


class BadRequest(Exception):  # noqa: N818 - named for what is the case
    """The caller has to change something."""

    def __init__(self, reason: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status


def read_rank(body: bytes) -> Query:
    """The query in the body of POST /v1/rank; raises BadRequest."""
    document = _json(body, "the body")
    if not isinstance(document, dict):
        raise BadRequest("WrongType", 'the body must be an object such as {"items": [1, 2]}')
    unknown = sorted(document.keys() - _RANK_FIELDS)
    if unknown:
        raise BadRequest(
            "UnknownField",
            f"unknown field {unknown[0][:64]!r}: the fields are {', '.join(sorted(_RANK_FIELDS))}",
        )
    if "items" not in document:
        raise BadRequest("MissingField", '"items" is missing: list the ids to rank')
    items = _ids(document["items"], "items", MOST_ITEMS)
    if not items:
        raise BadRequest("NoItems", '"items" is empty: list the ids to rank')
    user_id = document.get("user_id")
    history = document.get("history")
    return Query(
        user_id=None if user_id is None else _id(user_id, "user_id"),
        items=items,
        history=None if history is None else _ids(history, "history", LONGEST_HISTORY),
        k=_k(document.get("k", len(items))),
        context=_context(document.get("context")),
    )


def read_recommend(user_id: str, query_string: str) -> Query:
    """The query in GET /recommend/{user_id}?query_string; raises BadRequest.

    Args:
        user_id: from the path, decoded.
        query_string: without the question mark, as sent.
    """
    try:
        given = parse_qsl(
            query_string, keep_blank_values=True, strict_parsing=bool(query_string), errors="strict"
        )
    except ValueError as error:
        raise BadRequest("MalformedUrl", f"the URL cannot be read: {error}") from error
    parameters = dict(given)
    unknown = sorted(parameters.keys() - {"context", "k"})
    if unknown:
        raise BadRequest(
            "UnknownField", f"unknown parameter {unknown[0][:64]!r}: there are context and k"
        )
    text = parameters.get("k", str(DEFAULT_K))
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise BadRequest("WrongType", f"k must be a whole number from 1 to {LARGEST_K}")
    return Query(
        user_id=_id(user_id, "user_id"),
        items=None,
        k=_k(int(text)),
        context=_context(_json(parameters.get("context", "null"), "context")),
    )


def _json(text: str | bytes, what: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadRequest("MalformedJson", f"{what} is not JSON: {error}") from error


def _context(given: object) -> Context:
    try:
        return read_context(given)
    except BadContext as error:
        raise BadRequest("BadContext", str(error)) from error


def _id(value: Any, name: str) -> Id:
    # True is an int to Python and none to anybody else.
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise BadRequest("WrongType", f'"{name}" must hold integers or strings, not {_kind(value)}')
    if value == "":
        raise BadRequest("WrongType", f'"{name}" must not hold an empty string')
    return value


def _ids(value: Any, name: str, most: int) -> tuple[Id, ...]:
    if not isinstance(value, list):
        raise BadRequest("WrongType", f'"{name}" must be a list of ids, not {_kind(value)}')
    if len(value) > most:
        raise BadRequest("TooMany", f'"{name}" has {len(value)} ids: send at most {most}')
    return tuple(_id(each, name) for each in value)


def _k(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_K:
        raise BadRequest("WrongType", f"k must be a whole number from 1 to {LARGEST_K}")
    return value


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", float: "a number with a fraction", dict: "an object"}
    return kinds.get(type(value), "null" if value is None else f"a {type(value).__name__}")
