"""What a body is read as, what it is answered in, and MessagePack that means harm."""

from __future__ import annotations

import struct

import ormsgpack
import pytest

from millstream_serving.http.formats import (
    JSON,
    MSGPACK,
    format_of_answer,
    format_of_body,
    must_be_json,
)
from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.requests import read_rank
from millstream_serving.ranking.answers import Query


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        pytest.param(None, JSON, id="nothing said"),
        pytest.param("application/json", JSON, id="JSON"),
        pytest.param("Application/JSON; charset=utf-8", JSON, id="JSON with a charset"),
        pytest.param("application/msgpack", MSGPACK, id="MessagePack"),
        pytest.param("application/x-msgpack", MSGPACK, id="as it was called"),
        pytest.param("application/vnd.msgpack ;v=1", MSGPACK, id="as it is registered"),
    ],
)
def test_a_body_is_what_its_type_says(content_type, form):
    assert format_of_body(content_type) is form


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "json", "*/*"]
)
def test_other_types_are_refused_with_those_that_are_read(content_type):
    with pytest.raises(BadRequest) as refused:
        format_of_body(content_type)
    assert (refused.value.status, refused.value.reason) == (415, "UnknownContentType")
    assert "application/json or application/msgpack" in str(refused.value)


def test_a_type_without_end_is_not_repeated_back():
    with pytest.raises(BadRequest) as refused:
        format_of_body("x" * 10_000)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("content_type", ["application/msgpack", "application/octet-stream", ""])
def test_what_has_to_be_json_is_no_other_type(content_type):
    with pytest.raises(BadRequest) as refused:
        must_be_json(content_type)
    assert refused.value.status == 415
    must_be_json(None)
    must_be_json("application/json;charset=utf-8")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        pytest.param(None, MSGPACK, id="nothing said"),
        pytest.param("*/*", MSGPACK, id="anything"),
        pytest.param("application/json", JSON, id="JSON"),
        pytest.param("application/msgpack, application/json", MSGPACK, id="the first of equals"),
        pytest.param(
            "application/msgpack;q=0.5, application/json;q=0.9", JSON, id="what is liked better"
        ),
        pytest.param("application/json;q=0, */*;q=0.1", MSGPACK, id="anything but JSON"),
        pytest.param("text/html, application/json;q=0.1", JSON, id="the only one we write"),
        pytest.param("text/html", MSGPACK, id="none that we write"),
        pytest.param("application/json;q=high", MSGPACK, id="no number"),
        pytest.param(",;,=;q", MSGPACK, id="nonsense"),
    ],
)
def test_the_answer_is_what_the_caller_likes_best(accept, form):
    assert format_of_answer(accept, MSGPACK) is form


def test_a_query_in_messagepack_is_the_query_in_json():
    document = {"user_id": 7, "items": [1, "b"], "history": [3], "context": {"price": 0.5}, "k": 1}
    read = read_rank(ormsgpack.packb(document), MSGPACK)
    assert read == Query(7, (1, "b"), (3,), 1, {"price": 0.5})


HOSTILE = {
    "nothing": b"",
    "a list of 2^32 values": b"\xdd\xff\xff\xff\xff",
    "a map of 2^32 values": b"\xdf\xff\xff\xff\xff",
    "a text of 4 GB": b"\xdb\xff\xff\xff\xff",
    "4 GB of bytes": b"\xc6\xff\xff\xff\xff",
    "a list of 2^32 lists of 2^32 lists": b"\xdd\xff\xff\xff\xff" * 1000,
    "200,000 lists in lists": b"\x91" * 200_000 + b"\x90",
    "80,000 maps in maps": b"\x81\xa1a" * 80_000 + b"\x90",
    "an extension": b"\xd4\x01a",
    "an extension of 4 GB": b"\xc9\xff\xff\xff\xff\x01",
    "a time": b"\xd6\xff\x00\x00\x00\x00",
    "the byte that means nothing": b"\xc1",
    "a text that is no text": b"\xa2\xff\xfe",
    "half a surrogate pair": b"\xa3\xed\xa0\x80",
    "a number as a key": b"\x81\x01\x01",
    "bytes as a key": b"\x81\xc4\x01a\x01",
    "two documents": 2 * ormsgpack.packb({"items": [1]}),
    "half a document": ormsgpack.packb({"items": [1, 2, 3]})[:-1],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messagepack_is_malformed(name):
    with pytest.raises(BadRequest) as refused:
        read_rank(HOSTILE[name], MSGPACK)
    assert (refused.value.status, refused.value.reason) == (400, "MalformedMessagePack")
    assert "not MessagePack" in str(refused.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"\x90", "WrongType", id="a list"),
        pytest.param(ormsgpack.packb({"items": [b"7"]}), "WrongType", id="bytes as an id"),
        pytest.param(ormsgpack.packb({"items": [1.5]}), "WrongType", id="a fraction"),
        pytest.param(
            b"\x81\xa5items\x91\xcb" + struct.pack(">d", float("nan")), "WrongType", id="NaN"
        ),
        pytest.param(
            b"\x81\xa5items\x91\xcb" + struct.pack(">d", float("inf")), "WrongType", id="infinity"
        ),
        pytest.param(
            b"\x81\xa5items" + b"\x91" * 900 + b"\x90", "WrongType", id="lists in lists as an id"
        ),
    ],
)
def test_what_json_cannot_say_is_of_the_wrong_type(body, reason):
    with pytest.raises(BadRequest) as refused:
        read_rank(body, MSGPACK)
    assert refused.value.reason == reason
