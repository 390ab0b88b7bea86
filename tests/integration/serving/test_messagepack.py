"""Rankings in MessagePack, asked for by Content-Type and Accept."""

from __future__ import annotations

import ormsgpack
import pytest

from millstream_api.names import HEADER_VERSION

MSGPACK = "application/msgpack"
QUERY = {"user_id": 3, "items": [1001, 1002, "new"], "k": 2}


async def ask(running, content, **headers):
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await running.client.post("/v1/rank", content=content, headers=names)


async def test_a_ranking_in_messagepack_says_what_the_one_in_json_says(running):
    plain = await running.rank(**QUERY)
    packed = await ask(running, ormsgpack.packb(QUERY), content_type=MSGPACK)
    assert packed.headers["content-type"] == MSGPACK
    assert packed.headers[HEADER_VERSION] == "0"
    assert ormsgpack.unpackb(packed.content) == plain.json()
    assert len(packed.content) < len(plain.content)


async def test_either_can_be_answered_in_the_other(running):
    plain = await running.rank(**QUERY)
    packed = await ask(
        running, plain.request.content, content_type="application/json", accept=MSGPACK
    )
    assert ormsgpack.unpackb(packed.content) == plain.json()
    asked = ormsgpack.packb(QUERY)
    again = await ask(running, asked, content_type=MSGPACK, accept="application/json")
    assert again.content == plain.content


async def test_a_recommendation_comes_in_what_is_accepted(running):
    plain = await running.client.get("/recommend/4")
    packed = await running.client.get("/recommend/4", headers={"accept": MSGPACK})
    assert packed.headers["content-type"] == MSGPACK
    assert ormsgpack.unpackb(packed.content) == plain.json()


@pytest.mark.parametrize(
    ("content", "content_type", "status", "reason"),
    [
        pytest.param(b"{}", MSGPACK, 400, "MalformedMessagePack", id="JSON as MessagePack"),
        pytest.param(b"\x81\xa1x\x01", MSGPACK, 400, "UnknownField", id="a typo"),
        pytest.param(b"\xdd\xff\xff\xff\xff", MSGPACK, 400, "MalformedMessagePack", id="hostile"),
        pytest.param(b"\x91" * 200_000, MSGPACK, 400, "MalformedMessagePack", id="deep"),
        pytest.param(b"\xc0" * 300_000, MSGPACK, 413, "BodyTooLarge", id="a long body"),
        pytest.param(b"items=1", "application/x-www-form-urlencoded", 415, "UnknownContentType"),
        pytest.param(b" " * 300_000, "text/plain", 413, "BodyTooLarge", id="long and unknown"),
    ],
)
async def test_errors_are_json_whatever_was_sent(running, content, content_type, status, reason):
    answer = await ask(running, content, content_type=content_type, accept=MSGPACK)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers[HEADER_VERSION] == "none"
