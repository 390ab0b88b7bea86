"""Inferences of the Open Inference Protocol: each is a query, or one sentence on what to change."""

from __future__ import annotations

import pytest

from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.tensors import Wanted, read_inference
from millstream_serving.ranking.answers import Query


def tensor(name, *data, datatype="INT64", **changes):
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": list(data)} | changes


ITEMS = tensor("items", 1, 2)


def test_every_tensor_has_its_place_in_the_query():
    document = {
        "id": "42",
        "inputs": [
            tensor("k", 1),
            tensor("user_id", "ü", datatype="BYTES"),
            tensor("items", "1", "b", datatype="BYTES"),
            tensor("history", 3, 4),
        ],
        "outputs": [{"name": "scores"}],
        "parameters": {"device": "phone", "hour": 7, "price": 0.5, "campaign": None},
    }
    query, wanted = read_inference(document)
    context = {"device": "phone", "hour": 7, "price": 0.5}
    assert query == Query("ü", ("1", "b"), (3, 4), 1, context)
    assert wanted == Wanted("42", ("scores",), "BYTES")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"inputs": [ITEMS]}, id="the items alone"),
        pytest.param(
            {
                "inputs": [ITEMS | {"parameters": None}],
                "outputs": None,
                "id": None,
                "parameters": None,
            },
            id="nulls",
        ),
        pytest.param(
            {"inputs": [ITEMS | {"parameters": {}}], "outputs": [], "parameters": {}},
            id="empty ones",
        ),
        pytest.param(
            {
                "inputs": [ITEMS],
                "outputs": [
                    {"name": "ids", "parameters": {"binary_data": True}},
                    {"name": "scores", "parameters": {"binary_data": False}},
                ],
                "parameters": {"binary_data_output": True},
            },
            id="binary answers asked for",
        ),
        pytest.param({"inputs": [tensor("items", 1.0, 2.0)]}, id="whole numbers with a point"),
    ],
)
def test_what_is_left_out_means_nobody_and_everything(document):
    query, wanted = read_inference(document)
    assert query == Query(None, (1, 2), None, 2)
    assert [type(item) for item in query.items] == [int, int]
    assert wanted == Wanted(None, ("ids", "scores"), "INT64")


def test_an_empty_history_is_a_history():
    query, _ = read_inference({"inputs": [ITEMS, tensor("history")]})
    assert query.history == ()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param([], "must be an object", id="a list"),
        pytest.param({}, '"inputs" must be a list', id="no inputs"),
        pytest.param({"inputs": {}}, '"inputs" must be a list', id="an object of inputs"),
        pytest.param({"inputs": []}, '"items" is missing', id="an empty list of inputs"),
        pytest.param({"inputs": [ITEMS] * 5}, "a list of some", id="more inputs than there are"),
        pytest.param({"inputs": [ITEMS] * 2}, "is there twice", id="the items twice"),
        pytest.param({"inputs": [1]}, "an input must be an object", id="a number as an input"),
        pytest.param({"inputs": [ITEMS], "k": 1}, "'k' in the request", id="k beside the inputs"),
        pytest.param({"inputs": [ITEMS | {"size": 1}]}, "'size' in an input", id="a typo"),
        pytest.param({"inputs": [tensor("products", 1)]}, "one of user_id", id="an unknown input"),
        pytest.param({"inputs": [ITEMS | {"name": [1]}]}, "one of user_id", id="a list as a name"),
        pytest.param({"inputs": [tensor("items")]}, "is empty", id="no items"),
        pytest.param(
            {"inputs": [tensor("items", 1, datatype="FP32")]}, "BYTES or INT64", id="fractions"
        ),
        pytest.param(
            {"inputs": [tensor("items", 1, datatype=["INT64"])]}, "BYTES or INT64", id="a list"
        ),
        pytest.param(
            {"inputs": [ITEMS, tensor("k", "1", datatype="BYTES")]}, "must be INT64", id="k as text"
        ),
        pytest.param(
            {"inputs": [{k: v for k, v in ITEMS.items() if k != "data"}]},
            "not in binary",
            id="data that is elsewhere",
        ),
        pytest.param({"inputs": [ITEMS | {"data": "1,2"}]}, "a list of its", id="text as data"),
        pytest.param({"inputs": [ITEMS | {"shape": [3]}]}, "must be [2]", id="another shape"),
        pytest.param({"inputs": [ITEMS | {"shape": [1, 2]}]}, "must be [2]", id="two dimensions"),
        pytest.param({"inputs": [ITEMS | {"shape": None}]}, "must be [2]", id="no shape"),
        pytest.param(
            {"inputs": [tensor("items", 1, shape=[True])]}, "must be [1]", id="true as a shape"
        ),
        pytest.param({"inputs": [tensor("items", [1])]}, "an integer", id="data in lists"),
        pytest.param({"inputs": [tensor("items", "1")]}, "an integer", id="text in INT64"),
        pytest.param({"inputs": [tensor("items", 1.5)]}, "an integer", id="a fraction in INT64"),
        pytest.param({"inputs": [tensor("items", *[True])]}, "an integer", id="true in INT64"),
        pytest.param(
            {"inputs": [tensor("items", 1, datatype="BYTES")]}, "a string", id="a number in BYTES"
        ),
        pytest.param(
            {"inputs": [tensor("items", "", datatype="BYTES")]}, "empty string", id="an empty id"
        ),
        pytest.param({"inputs": [tensor("items", *range(1001))]}, "at most 1000", id="1001 items"),
        pytest.param(
            {"inputs": [ITEMS, tensor("history", *range(501))]}, "at most 500", id="501 clicks"
        ),
        pytest.param({"inputs": [ITEMS, tensor("user_id", 1, 2)]}, "one value", id="two users"),
        pytest.param({"inputs": [ITEMS, tensor("user_id")]}, "one value", id="no user"),
        pytest.param({"inputs": [ITEMS, tensor("k", 0)]}, "1 to 1000", id="k of zero"),
        pytest.param({"inputs": [ITEMS, tensor("k", 1001)]}, "1 to 1000", id="k beyond its bound"),
        pytest.param(
            {"inputs": [ITEMS | {"parameters": {"x": 1}}]}, "'x' in the para", id="a parameter"
        ),
        pytest.param({"inputs": [ITEMS | {"parameters": 1}]}, "must be an object", id="one number"),
        pytest.param({"inputs": [ITEMS], "outputs": {}}, '"outputs" must list', id="an object"),
        pytest.param(
            {"inputs": [ITEMS], "outputs": [{"name": "ids"}] * 2}, "asked for twice", id="ids twice"
        ),
        pytest.param(
            {"inputs": [ITEMS], "outputs": [{"name": "ids"}] * 3}, '"outputs" must', id="ids thrice"
        ),
        pytest.param(
            {"inputs": [ITEMS], "outputs": [{"name": "logits"}]}, "one of ids", id="another output"
        ),
        pytest.param(
            {"inputs": [ITEMS], "outputs": [{"name": "ids", "shape": [1]}]},
            "'shape' in an output",
            id="the shape of an output",
        ),
        pytest.param(
            {"inputs": [ITEMS], "outputs": [{"name": "ids", "parameters": {"classification": 3}}]},
            "'classification'",
            id="classes",
        ),
        pytest.param({"inputs": [ITEMS], "id": 42}, '"id" must be a text', id="a number as an id"),
        pytest.param({"inputs": [ITEMS], "id": "x" * 257}, "at most 256", id="a long id"),
        pytest.param({"inputs": [ITEMS], "parameters": []}, "must be an object", id="a list"),
        pytest.param(
            {"inputs": [ITEMS], "parameters": {"a": {"b": 1}}}, "its context", id="a deep context"
        ),
        pytest.param(
            {"inputs": [ITEMS], "parameters": {"binary_data_output": "yes"}},
            "true or false",
            id="binary, maybe",
        ),
        pytest.param(
            {"inputs": [ITEMS], "parameters": {f"n{i}": i for i in range(65)}},
            "at most 64",
            id="65 values",
        ),
    ],
)
def test_a_malformed_inference_is_refused_with_a_sentence(document, says):
    with pytest.raises(BadRequest) as refused:
        read_inference(document)
    assert says in str(refused.value)
    assert refused.value.status == 400


def test_a_name_without_end_is_not_repeated_back():
    for document in ({"x" * 9999: 1}, {"inputs": [{"x" * 9999: 1}]}):
        with pytest.raises(BadRequest) as refused:
            read_inference(document)
        assert len(str(refused.value)) < 300
