"""From the bytes of a request to a query, or to one sentence on what to write instead.

Everything is bounded here, before any work is done for it. Unknown fields are refused: a typing
error that is silently ignored costs its author a day.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

from millstream_api.names import HEADER_BUDGET, MOST_BUDGET_MILLIS
from millstream_core.features import BadContext, Context, read_context
from millstream_serving.http.formats import JSON, Format
from millstream_serving.http.refusals import BadRequest
from millstream_serving.ranking.answers import Id, Query

MOST_ITEMS: Final = 1000
LONGEST_HISTORY: Final = 500
LARGEST_K: Final = 1000
DEFAULT_K: Final = 10

_KINDS_OF_ID: Final = frozenset({int, str})
RANK_FIELDS: Final = frozenset({"user_id", "items", "history", "context", "k"})


def read_rank(body: bytes, form: Format = JSON) -> Query:
    """The query in the body of POST /v1/rank; raises BadRequest."""
    document = form.read(body)
    if not isinstance(document, dict):
        raise BadRequest("WrongType", 'the body must be an object such as {"items": [1, 2]}')
    unknown = sorted(document.keys() - RANK_FIELDS)
    if unknown:
        raise BadRequest(
            "UnknownField",
            f"unknown field {unknown[0][:64]!r}: the fields are {', '.join(sorted(RANK_FIELDS))}",
        )
    if "items" not in document:
        raise BadRequest("MissingField", '"items" is missing: list the ids to rank')
    items = read_ids(document["items"], "items", MOST_ITEMS)
    if not items:
        raise BadRequest("NoItems", '"items" is empty: list the ids to rank')
    user_id = document.get("user_id")
    history = document.get("history")
    return Query(
        user_id=None if user_id is None else read_id(user_id, "user_id"),
        items=items,
        history=None if history is None else read_ids(history, "history", LONGEST_HISTORY),
        k=read_k(document.get("k", len(items))),
        context=read_values(document.get("context")),
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
        user_id=read_id(user_id, "user_id"),
        items=None,
        k=read_k(int(text)),
        context=read_values(JSON.read(parameters.get("context", "null"), "context")),
    )


def read_budget(given: str | None) -> float | None:
    """Seconds that a request may wait for its turn, from its header; raises BadRequest."""
    if given is None:
        return None
    is_number = given.isdigit() and len(given) < 8  # what is not ASCII does not come this far
    if not is_number or not 1 <= int(given) <= MOST_BUDGET_MILLIS:
        raise BadRequest(
            "WrongType", f"{HEADER_BUDGET} must be a whole number from 1 to {MOST_BUDGET_MILLIS}"
        )
    return int(given) / 1e3


def read_values(given: object) -> Context:
    """The values of a context; raises BadRequest."""
    try:
        return read_context(given)
    except BadContext as error:
        raise BadRequest("BadContext", str(error)) from error


def read_id(value: Any, name: str) -> Id:
    """An id; raises BadRequest, which calls it by this name."""
    # True is an int to Python and none to anybody else.
    if isinstance(value, bool) or not isinstance(value, int | str):
        number = without_fraction(value)
        if number is None:
            raise BadRequest(
                "WrongType", f'"{name}" must hold integers or strings, not {_kind(value)}'
            )
        return number
    if value == "":
        raise BadRequest("WrongType", f'"{name}" must not hold an empty string')
    return value


def read_ids(value: Any, name: str, most: int) -> tuple[Id, ...]:
    """Up to so many ids; raises BadRequest, which calls them by this name."""
    if not isinstance(value, list):
        raise BadRequest("WrongType", f'"{name}" must be a list of ids, not {_kind(value)}')
    if len(value) > most:
        raise BadRequest("TooMany", f'"{name}" has {len(value)} ids: send at most {most}')
    # Nearly always all is well, which two passes in C tell of a hundred ids in 4 us instead of 27.
    kinds = set(map(type, value))
    if kinds <= _KINDS_OF_ID and (str not in kinds or "" not in value):
        return tuple(value)
    return tuple(read_id(each, name) for each in value)


def read_k(value: Any) -> int:
    """How many to answer with; raises BadRequest."""
    number = without_fraction(value) if isinstance(value, float) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= LARGEST_K:
        raise BadRequest("WrongType", f"k must be a whole number from 1 to {LARGEST_K}")
    return number


def without_fraction(value: Any) -> int | None:
    """The integer that was written as 7.0, which is the same to JSON; None for all else."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**64:
        return int(value)
    return None


def _kind(value: Any) -> str:
    kinds = {
        bool: "true or false",
        float: "a number with a fraction or beyond 64 bits",
        dict: "an object",
    }
    return kinds.get(type(value), "null" if value is None else f"a {type(value).__name__}")
