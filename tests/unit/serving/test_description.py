"""The description and the reading draw the same line, on both of its sides."""

from __future__ import annotations

import jsonschema_rs
import pytest

from millstream_serving.http.formats import JSON
from millstream_serving.http.openapi import description
from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.requests import read_rank
from millstream_serving.http.tensors import read_inference
from millstream_serving.ranking.answers import IdOutOfRange, keys_of

COMPONENTS = description("shop", "0")["components"]


def is_described(schema, document):
    whole = {"$ref": f"#/components/schemas/{schema}", "components": COMPONENTS}
    return jsonschema_rs.is_valid(whole, document)


def is_read(read, document):
    try:
        query = read(document)
        keys_of([*query.items, *(query.history or ())])
        keys_of([] if query.user_id is None else [query.user_id])
    except (BadRequest, IdOutOfRange):
        return False
    return True


def a_rank(document):
    return read_rank(JSON.encode(document))


def an_inference(document):
    return read_inference(document)[0]


def tensor(name, data, datatype="INT64"):
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


def inference(*inputs, **fields):
    return {"inputs": [tensor("items", [1]), *inputs], **fields}


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        pytest.param({"items": [1] * 1000}, {"items": [1] * 1001}, id="items"),
        pytest.param({"items": [1]}, {"items": []}, id="no items"),
        pytest.param(
            {"items": [1], "history": [1] * 500}, {"items": [1], "history": [1] * 501}, id="history"
        ),
        pytest.param({"items": [1], "k": 1000}, {"items": [1], "k": 1001}, id="k"),
        pytest.param({"items": [1], "k": 1.0}, {"items": [1], "k": 1.5}, id="fractions of k"),
        pytest.param({"items": [1], "k": 1}, {"items": [1], "k": 0}, id="k of zero"),
        pytest.param({"items": [2**63 - 1]}, {"items": [2**63]}, id="the largest id"),
        pytest.param({"items": [1 - 2**63]}, {"items": [-(2**63)]}, id="the least id"),
        pytest.param({"items": [7.0]}, {"items": [7.5]}, id="fractions of an id"),
        pytest.param({"items": ["a"]}, {"items": [""]}, id="the shortest id"),
        pytest.param({"items": [1]}, {"items": [True]}, id="true"),
        pytest.param(
            {"items": [1], "user_id": None}, {"items": [1], "user_id": [1]}, id="the user"
        ),
        pytest.param(
            {"items": [1], "context": {f"n{i}": i for i in range(64)}},
            {"items": [1], "context": {f"n{i}": i for i in range(65)}},
            id="values in a context",
        ),
        pytest.param(
            {"items": [1], "context": {"n" * 63: 1}},
            {"items": [1], "context": {"n" * 64: 1}},
            id="names in a context",
        ),
        pytest.param(
            {"items": [1], "context": {"a": "x" * 256}},
            {"items": [1], "context": {"a": "x" * 257}},
            id="texts in a context",
        ),
        pytest.param(
            {"items": [1], "context": None}, {"items": [1], "context": []}, id="the context"
        ),
        pytest.param({"items": [1]}, {"items": [1], "x": 1}, id="fields"),
    ],
)
def test_a_ranking_is_described_as_it_is_read(within, beyond):
    assert is_described("RankRequest", within)
    assert is_read(a_rank, within)
    assert not is_described("RankRequest", beyond)
    assert not is_read(a_rank, beyond)


@pytest.mark.parametrize(
    ("within", "beyond"),
    [
        pytest.param(
            {"inputs": [tensor("items", [1] * 1000)]},
            {"inputs": [tensor("items", [1] * 1001)]},
            id="items",
        ),
        pytest.param(
            {"inputs": [tensor("items", [1])]}, {"inputs": [tensor("k", [1])]}, id="without items"
        ),
        pytest.param(
            inference(tensor("history", [1] * 500)),
            inference(tensor("history", [1] * 501)),
            id="history",
        ),
        pytest.param(
            inference(tensor("user_id", [1])), inference(tensor("user_id", [1, 2])), id="users"
        ),
        pytest.param(inference(tensor("k", [1000])), inference(tensor("k", [1001])), id="k"),
        pytest.param(
            inference(tensor("history", ["a"], "BYTES")),
            inference(tensor("history", ["a"])),
            id="text",
        ),
        pytest.param(
            inference(tensor("user_id", [2**63 - 1])),
            inference(tensor("user_id", [2**63])),
            id="the largest id",
        ),
        pytest.param(
            inference(tensor("user_id", [1.0])), inference(tensor("user_id", [1.5])), id="fractions"
        ),
        pytest.param(inference(id="x" * 256), inference(id="x" * 257), id="the id"),
        pytest.param(inference(id=None), inference(id=7), id="what an id is"),
        pytest.param(
            inference(outputs=[{"name": "ids"}]),
            inference(outputs=[{"name": "logits"}]),
            id="outputs",
        ),
        pytest.param(
            inference(outputs=[{"name": "ids", "parameters": {"binary_data": True}}]),
            inference(outputs=[{"name": "ids", "parameters": {"binary_data": 1}}]),
            id="parameters of an output",
        ),
        pytest.param(
            inference(tensor("k", [1]) | {"parameters": {}}),
            inference(tensor("k", [1]) | {"parameters": {"a": 1}}),
            id="parameters of an input",
        ),
        pytest.param(
            inference(parameters={"binary_data_output": False}),
            inference(parameters={"binary_data_output": "no"}),
            id="binary answers",
        ),
        pytest.param(
            inference(parameters={f"n{i}": i for i in range(64)}),
            inference(parameters={f"n{i}": i for i in range(65)}),
            id="parameters",
        ),
        pytest.param(
            inference(parameters={"a": "x" * 256}),
            inference(parameters={"a": "x" * 257}),
            id="texts in parameters",
        ),
        pytest.param(inference(), inference(x=1), id="fields"),
    ],
)
def test_an_inference_is_described_as_it_is_read(within, beyond):
    assert is_described("InferenceRequest", within)
    assert is_read(an_inference, within)
    assert not is_described("InferenceRequest", beyond)
    assert not is_read(an_inference, beyond)
