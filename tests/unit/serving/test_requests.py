"""Every malformed request gets a reason and a sentence that says what to write instead."""

from __future__ import annotations

import orjson
import pytest

from millstream_serving.http.requests import BadRequest, read_rank, read_recommend
from millstream_serving.ranking.answers import Query


def test_a_full_query_is_read_as_it_was_sent():
    context = {"device": "web", "hour": 7, "price": 0.5}
    body = {"user_id": "u1", "items": [1, "b"], "history": [3], "k": 1, "context": context}
    assert read_rank(orjson.dumps(body)) == Query(
        user_id="u1", items=(1, "b"), history=(3,), k=1, context=context
    )


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"items": [1, 2]}, id="only the items"),
        pytest.param(
            {"items": [1, 2], "user_id": None, "history": None, "context": None}, id="nulls"
        ),
    ],
)
def test_what_is_left_out_means_nobody_and_everything(document):
    assert read_rank(orjson.dumps(document)) == Query(user_id=None, items=(1, 2), history=None, k=2)


def test_a_whole_number_is_one_however_it_is_written():
    """JSON knows one 7, and some programs write it 7.0."""
    read = read_rank(b'{"items":[7.0,-1e3],"user_id":4e0,"k":2.0}')
    assert read == Query(user_id=4, items=(7, -1000), history=None, k=2)
    assert [type(value) for value in (*read.items, read.user_id, read.k)] == [int] * 4


def test_an_empty_history_is_a_history():
    assert read_rank(b'{"items":[1],"history":[]}').history == ()


@pytest.mark.parametrize(
    ("body", "reason", "says"),
    [
        pytest.param(b"", "MalformedJson", "not JSON", id="nothing"),
        pytest.param(b'{"items":[1]', "MalformedJson", "not JSON", id="half a document"),
        pytest.param(b"\xff\xfe", "MalformedJson", "not JSON", id="no text at all"),
        pytest.param(b'{"items":[NaN]}', "MalformedJson", "not JSON", id="NaN as an id"),
        pytest.param(b"[1,2]", "WrongType", "must be an object", id="a list"),
        pytest.param(b"null", "WrongType", "must be an object", id="null"),
        pytest.param(b"{}", "MissingField", '"items" is missing', id="no items"),
        pytest.param(b'{"items":[]}', "NoItems", "list the ids", id="an empty list of items"),
        pytest.param(b'{"items":null}', "WrongType", "not null", id="null for items"),
        pytest.param(b'{"items":"1,2"}', "WrongType", "must be a list", id="text for items"),
        pytest.param(b'{"items":{"a":1}}', "WrongType", "not an object", id="an object for items"),
        pytest.param(b'{"items":[1.5]}', "WrongType", "fraction", id="a fraction for an id"),
        pytest.param(b'{"items":[1e300]}', "WrongType", "64 bits", id="a number without end"),
        pytest.param(b'{"items":[1],"k":1.5}', "WrongType", "1 to 1000", id="k with a fraction"),
        pytest.param(b'{"items":[true]}', "WrongType", "true or false", id="true for an id"),
        pytest.param(b'{"items":[null]}', "WrongType", "not null", id="null for an id"),
        pytest.param(b'{"items":[[1]]}', "WrongType", "not a list", id="a list for an id"),
        pytest.param(b'{"items":[""]}', "WrongType", "empty string", id="an empty id"),
        pytest.param(
            b'{"items":[1],"user_id":[2]}', "WrongType", '"user_id"', id="a list of users"
        ),
        pytest.param(b'{"items":[1],"user_id":false}', "WrongType", "true or false", id="no user"),
        pytest.param(b'{"items":[1],"history":7}', "WrongType", '"history"', id="one click"),
        pytest.param(b'{"items":[1],"k":0}', "WrongType", "1 to 1000", id="k of zero"),
        pytest.param(b'{"items":[1],"k":-1}', "WrongType", "1 to 1000", id="a negative k"),
        pytest.param(b'{"items":[1],"k":1001}', "WrongType", "1 to 1000", id="k beyond its bound"),
        pytest.param(b'{"items":[1],"k":"5"}', "WrongType", "1 to 1000", id="k as text"),
        pytest.param(b'{"items":[1],"k":true}', "WrongType", "1 to 1000", id="k as true"),
        pytest.param(b'{"items":[1],"k":null}', "WrongType", "1 to 1000", id="k as null"),
        pytest.param(
            b'{"items":[1],"usr_id":2}',
            "UnknownField",
            "context, history, items, k, user_id",
            id="a typo",
        ),
        pytest.param(
            b'{"items":[1],"context":[]}', "BadContext", "an object", id="a list of values"
        ),
        pytest.param(
            b'{"items":[1],"context":{"a":true}}', "BadContext", '"a"', id="true for a number"
        ),
        pytest.param(
            b'{"items":[1],"context":{"a":{"b":1}}}', "BadContext", "or null", id="a deep context"
        ),
        pytest.param(
            b'{"items":[1],"context":{"a":1e400}}', "MalformedJson", "infinity", id="1e400"
        ),
        pytest.param(
            orjson.dumps({"items": [1], "context": {f"n{i}": i for i in range(65)}}),
            "BadContext",
            "at most 64",
            id="65 values",
        ),
        pytest.param(
            orjson.dumps({"items": [1], "context": {"a": "x" * 257}}),
            "BadContext",
            "at most 256",
            id="a long text",
        ),
        pytest.param(
            orjson.dumps({"items": list(range(1001))}), "TooMany", "at most 1000", id="1001 items"
        ),
        pytest.param(
            orjson.dumps({"items": [1], "history": list(range(501))}),
            "TooMany",
            "at most 500",
            id="501 clicks",
        ),
    ],
)
def test_a_malformed_body_is_refused_with_a_reason(body, reason, says):
    with pytest.raises(BadRequest) as refused:
        read_rank(body)
    assert refused.value.reason == reason
    assert refused.value.status == 400
    assert says in str(refused.value)


def test_a_name_without_end_is_not_repeated_back():
    with pytest.raises(BadRequest) as refused:
        read_rank(orjson.dumps({"items": [1], "x" * 10_000: 1}))
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("user_id", "query", "wanted"),
    [
        pytest.param("7", "", Query(user_id="7", items=None, k=10), id="k defaults to ten"),
        pytest.param("a/b", "k=3", Query(user_id="a/b", items=None, k=3), id="k as asked"),
        pytest.param(
            "7",
            "context=%7B%22device%22%3A%22web%22%7D",
            Query(user_id="7", items=None, k=10, context={"device": "web"}),
            id="a context as JSON",
        ),
    ],
)
def test_a_recommendation_is_asked_for_by_path(user_id, query, wanted):
    assert read_recommend(user_id, query) == wanted


@pytest.mark.parametrize(
    ("user_id", "query", "reason"),
    [
        pytest.param("", "", "WrongType", id="nobody"),
        pytest.param("7", "k=", "WrongType", id="k without a number"),
        pytest.param("7", "k=0", "WrongType", id="k of zero"),
        pytest.param("7", "k=1.5", "WrongType", id="a fraction"),
        pytest.param("7", "k=٣", "WrongType", id="digits of another script"),
        pytest.param("7", f"k={'9' * 5000}", "WrongType", id="a number without end"),
        pytest.param("7", "n=5", "UnknownField", id="another parameter"),
        pytest.param("7", "k", "MalformedUrl", id="a parameter without a value"),
        pytest.param("7", "context=web", "MalformedJson", id="a context that is no JSON"),
        pytest.param("7", "context=7", "BadContext", id="a context that is a number"),
        pytest.param("7", "k=%FF", "MalformedUrl", id="bytes that are no text"),
    ],
)
def test_a_malformed_recommendation_is_refused_with_a_reason(user_id, query, reason):
    with pytest.raises(BadRequest) as refused:
        read_recommend(user_id, query)
    assert refused.value.reason == reason
