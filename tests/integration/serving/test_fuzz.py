"""A running server against its own description, and against bytes that follow none.

What it describes it must take, what it does not describe it must refuse, and every answer must be
as described; whatever comes, it answers, soon, in JSON, and is not at fault.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from contextlib import closing
from urllib.parse import quote

import ormsgpack
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from millstream_api.names import HEADER_BUDGET, MOST_BUDGET_MILLIS
from millstream_serving.http.inference import BINARY_HEADER
from millstream_serving.http.openapi import description

SOON = 5.0  # seconds; the longest answer takes a few milliseconds
JSON, PACKED = "application/json", "application/msgpack"
PATHS = description("shop", "0")["paths"]
OPERATIONS = [(method, path) for path, methods in PATHS.items() for method in methods]
INFER = "/v2/models/{model}/infer"
REFUSES_ALL = "/v2/models/{model}/versions/{version}/infer"

# The same examples in every run: a failure is there for whoever looks next.
fuzzing = settings(
    derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@schemathesis.serializer(PACKED)
def packed(_, value):
    return ormsgpack.packb(packable(value), option=ormsgpack.OPT_NON_STR_KEYS)


@schemathesis.deserializer(PACKED)
def unpacked(_, response):
    return ormsgpack.unpackb(response.content)


def packable(value):
    """What MessagePack cannot say, as readers of JSON understand it: beyond 64 bits, a float."""
    if isinstance(value, list):
        return [packable(each) for each in value]
    if isinstance(value, dict):
        return {name: packable(each) for name, each in value.items()}
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value


# By the description


@pytest.fixture
async def document(running):
    return (await running.client.get("/openapi.json")).json()


async def test_the_description_is_openapi(document):
    assert document["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(document).validate()


async def test_the_description_names_every_path_that_a_wrong_one_is_told_of(running, document):
    told = (await running.client.get("/wrong")).json()["error"]["message"]
    told += (await running.client.get("/v2/wrong")).json()["error"]
    versions = {path for path in document["paths"] if "{version}" in path}
    assert not [path for path in document["paths"].keys() - versions if path not in told]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_every_answer_is_as_described(running, document, method, path):
    operation = schemathesis.openapi.from_dict(document)[path][method]
    takes_something = "{" in path or "requestBody" in PATHS[path][method]
    modes = GenerationMode if takes_something else [GenerationMode.POSITIVE]
    for mode in modes:
        await asyncio.to_thread(hold_to_description, str(running.client.base_url), operation, mode)


def hold_to_description(url, operation, mode):
    excluded = [positive_data_acceptance] if operation.path == REFUSES_ALL else []

    @settings(fuzzing, max_examples=60)
    @given(case=operation.as_strategy(generation_mode=mode))
    def holds(case):
        if operation.path == INFER and mode is GenerationMode.POSITIVE:
            say_what_the_schema_cannot(case.body)
        if mode is GenerationMode.POSITIVE and HEADER_BUDGET in (case.headers or {}):
            # One millisecond is a budget too, and to be refused by a busy server is no fault of it.
            case.headers[HEADER_BUDGET] = str(MOST_BUDGET_MILLIS)
        answer = case.call(base_url=url, session=session, timeout=SOON)
        case.validate_response(answer, excluded_checks=excluded)

    with requests.Session() as session:
        holds()


def say_what_the_schema_cannot(inference):
    """That a tensor comes once, an output too, and that shapes count the data."""
    for field in ("inputs", "outputs"):
        given = inference.get(field)
        if given:
            given[:] = {each["name"]: each for each in given}.values()
    for each in inference["inputs"]:
        each["shape"] = [len(each["data"])]


# By no description

QUERY = {"user_id": 3, "items": [1001, "new"], "history": [], "context": {"hour": 7}, "k": 1}
INFERENCE = {
    "id": "1",
    "inputs": [
        {"name": "items", "datatype": "INT64", "shape": [2], "data": [1001, 1002]},
        {"name": "user_id", "datatype": "BYTES", "shape": [1], "data": ["ü"]},
    ],
    "outputs": [{"name": "ids"}],
    "parameters": {"hour": 7},
}
RANK, INFERENCES = "/v1/rank", "/v2/models/shop/infer"
WHOLE = st.sampled_from([(RANK, QUERY, JSON), (RANK, QUERY, PACKED), (INFERENCES, INFERENCE, JSON)])
EDGES = [-(2**63), -(2**63) + 1, -1, 0, 1001, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
VALUES = st.recursive(
    st.sampled_from([None, True, 1.5, *EDGES, *map(str, EDGES), *map(float, EDGES)])
    | st.floats()
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def damaged(draw):
    """A request that was whole until some bytes of its body were changed, left out or doubled."""
    path, document, kind = draw(WHOLE)
    body = bytearray(as_bytes(document, kind))
    for at in draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=6))
    return "POST", path, bytes(body), {"content-type": kind}


@st.composite
def misfilled(draw):
    """A request with a value of any kind in some places."""
    path, document, kind = draw(WHOLE)
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 2))):
        inside, name = document, draw(st.sampled_from(list(document)))
        while isinstance(inside[name], list | dict) and inside[name] and draw(st.booleans()):
            inside = inside[name]
            names = range(len(inside)) if isinstance(inside, list) else list(inside)
            name = draw(st.sampled_from(names))
        inside[name] = draw(VALUES)
    return "POST", path, as_bytes(document, kind), {"content-type": kind}


def as_bytes(document, kind):
    return ormsgpack.packb(document) if kind == PACKED else json.dumps(document).encode()


# What may stand in a header, bytes of no text included.
LINES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "content-type": st.sampled_from([JSON, PACKED, "application/x-msgpack;a", "text/plain"])
        | LINES,
        "accept": st.sampled_from(
            [PACKED, f"{JSON};q=", f"{PACKED};q=1e999", "*/*;q=nan", "a/b,,;q=;"]
        )
        | LINES,
        BINARY_HEADER: st.just("7"),
    },
)
# What may stand in the target of a request, escapes of all bytes included, and broken escapes.
TEXTS = st.binary(max_size=40).map(quote) | st.text("%/.;:@&=+$,-_!~*'()azAZ09", max_size=40)
TARGETS = st.builds(
    "{}{}{}".format,
    st.sampled_from(
        [path.replace("{user_id}", "3").replace("{model}", "shop").replace("{version}", "0")
         for path in PATHS]
        + ["/recommend/", "/v2/models/", "/v2/models/shop/versions/", "/"]
    ),
    st.just("") | TEXTS,
    st.just("") | TEXTS.map("?{}".format) | TEXTS.map("?k={}".format)
    | TEXTS.map("?context={}".format),
)  # fmt: skip
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
ANYTHING = st.tuples(
    METHODS | st.just("POST"),
    TARGETS | st.sampled_from([RANK, INFERENCES]),
    st.binary(max_size=300) | st.just(json.dumps(QUERY).encode()),
    HEADERS,
)


async def test_no_bytes_bring_it_down(running):
    port = running.client.base_url.port
    await asyncio.to_thread(send_anything, port)
    answer = await running.rank(**QUERY)
    assert (answer.status_code, answer.json()["version"]) == (200, 0)
    report = await running.report()
    assert report.counters[report.stable.digest].errors == 0


def send_anything(port):
    @settings(fuzzing, max_examples=2000)
    @given(ANYTHING | damaged() | misfilled() | misfilled())
    def is_answered(request):
        status, answer = asked(*request)
        assert status < 500, answer
        if not isinstance(answer, bytes):
            assert isinstance(answer, dict)
        statuses[status] = statuses.get(status, 0) + 1

    def asked(method, target, body, headers):
        start = time.monotonic()
        # One each: what is not read of a body may cost the connection.
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=SOON)) as connection:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        assert time.monotonic() - start < SOON
        kind = answer.getheader("content-type")
        if kind == JSON:
            return answer.status, json.loads(content)
        assert answer.status == 200
        assert kind.startswith(PACKED) or target.startswith("/metrics")
        return answer.status, content

    statuses: dict[int, int] = {}
    is_answered()
    # Else it would be a fuzz of one refusal.
    assert statuses.keys() >= {200, 400, 404, 405, 415}
