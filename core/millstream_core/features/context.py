"""Values of context features as they come in: bounded, of three types, and nothing else.

Both edges read a context with this: the trainer what an event carries, the server what a request
does. A value is a text, a number or none. What JSON can say in two ways is one value here, for an
event and a request may have been written by different programs: 7 and 7.0, and a whole number
beyond 64 bits and the float that JSON readers make of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from millstream_api.features import LONGEST_NAME, LONGEST_TEXT

Value = str | int | float
Context = Mapping[str, Value]  # by the name of the feature; what has no value is left out

MOST_GIVEN: Final = 64  # values in a context, twice what a model can have features
EMPTY: Final[Context] = {}


class BadContext(ValueError):  # noqa: N818 - named for what is the case
    """A context is not one; the message says what to write instead."""


def read_context(given: object) -> Context:
    """The values in a context.

    Null, NaN and infinity are no value.

    Raises:
        BadContext: not an object of texts and numbers, or larger than a context may be.
    """
    if given is None:
        return EMPTY
    if not isinstance(given, dict):
        raise BadContext('"context" must be an object such as {"device": "phone", "hour": 7}')
    if len(given) > MOST_GIVEN:
        raise BadContext(f'"context" has {len(given)} values: send at most {MOST_GIVEN}')
    values: dict[str, Value] = {}
    for name, value in given.items():
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise BadContext(f'names in "context" have at most {LONGEST_NAME} characters')
        read = _read(name, value)
        if read is not None:
            values[name] = read
    return values


def _read(name: str, value: object) -> Value | None:
    match value:
        case str() if len(value) > LONGEST_TEXT:
            raise BadContext(
                f'"{name}" in "context" has {len(value)} characters: send at most {LONGEST_TEXT}'
            )
        case str() | None:
            return value
        case float():
            return value if math.isfinite(value) else None
        # True is an int to Python and none to anybody else.
        case int() if not isinstance(value, bool):
            return value if -(2**63) <= value < 2**64 else _wide(value)
    raise BadContext(f'"{name}" in "context" must be a text, a number or null')


def _wide(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def text_of(value: Value) -> str:
    """The text that stands for a value: a whole number has no fraction, however it was written."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(value)
