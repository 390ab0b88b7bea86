"""A context is read the same wherever it comes from, and never trusted."""

from __future__ import annotations

import math
from typing import Any

import pytest

from millstream_core.features import BadContext, read_context
from millstream_core.features.context import MOST_GIVEN, text_of


@pytest.mark.parametrize(
    ("given", "read"),
    [
        pytest.param(None, {}, id="none at all"),
        pytest.param({}, {}, id="an empty one"),
        pytest.param({"a": "x", "b": 7, "c": 0.5}, {"a": "x", "b": 7, "c": 0.5}, id="values"),
        pytest.param({"a": None}, {}, id="null is no value"),
        pytest.param({"a": math.nan, "b": math.inf}, {}, id="NaN and infinity are no value"),
        pytest.param({"a": 10**400}, {}, id="nor is a whole number beyond any float"),
        pytest.param({"a": 10**30}, {"a": 1e30}, id="beyond 64 bits a whole number is a float"),
        pytest.param({"a": 2**64 - 1}, {"a": 2**64 - 1}, id="up to there it is exact"),
        pytest.param({"a": "x" * 256}, {"a": "x" * 256}, id="the longest text"),
        pytest.param({"a": ""}, {"a": ""}, id="an empty text is a value"),
    ],
)
def test_a_context_is_read(given: Any, read: dict[str, Any]) -> None:
    assert read_context(given) == read


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param([], "must be an object", id="a list"),
        pytest.param("phone", "must be an object", id="a text"),
        pytest.param(7, "must be an object", id="a number"),
        pytest.param({"a": True}, '"a".*a text, a number or null', id="a boolean"),
        pytest.param({"a": [1]}, "a text, a number or null", id="a list of values"),
        pytest.param({"a": {"b": 1}}, "a text, a number or null", id="an object within"),
        pytest.param({"a": b"x"}, "a text, a number or null", id="bytes"),
        pytest.param({"a": "x" * 257}, "257 characters: send at most 256", id="a long text"),
        pytest.param({"x" * 64: 1}, "at most 63 characters", id="a long name"),
        pytest.param({7: 1}, "names", id="a name that is no text"),
        pytest.param(
            {f"n{i}": 1 for i in range(MOST_GIVEN + 1)}, "65 values: send at most 64", id="many"
        ),
    ],
)
def test_what_is_no_context_is_refused_with_a_sentence(given: Any, says: str) -> None:
    with pytest.raises(BadContext, match=says):
        read_context(given)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"),
        (7.0, "7"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e30, str(10**30 + 19884624838656)),
        ("7.0", "7.0"),
    ],
)
def test_a_value_has_one_text(value: Any, text: str) -> None:
    assert text_of(value) == text
