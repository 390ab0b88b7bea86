"""The Open Inference Protocol, asked by a client that is generated from its official schema."""

from __future__ import annotations

import pytest
from open_inference.openapi.client import (
    AsyncOpenInferenceClient,
    InferenceRequest,
    ServiceUnavailableError,
)
from open_inference.openapi.core import ApiError
from open_inference.openapi.errors import BadRequestError
from open_inference.openapi.types import RequestInput, RequestOutput

from millstream_api.names import HEADER_BATCH, HEADER_VERSION, HEADER_WATERMARK
from millstream_api.release import batch_of
from millstream_core.store import StoreUnavailable
from tests.builders.serving import overflowing_dense, random_rows


def tensor(name, *data, datatype="INT64"):
    return RequestInput(name=name, shape=[len(data)], datatype=datatype, data=list(data))


def asking(*inputs, **fields):
    return InferenceRequest(inputs=list(inputs), **fields)


def values_of(answer):
    return {output.name: list(output.data.__root__) for output in answer.outputs}


def client_of(running):
    return AsyncOpenInferenceClient(
        base_url=str(running.client.base_url).rstrip("/"), httpx_client=running.client
    )


@pytest.fixture
def client(running):
    return client_of(running)


async def refused(running, body, *, path="/v2/models/shop/infer", **given):
    answer = await running.client.post(path, content=body, **given)
    assert list(answer.json()) == ["error"]
    return answer.status_code, answer.json()["error"]


INFERENCE = b'{"inputs":[{"name":"items","datatype":"INT64","shape":[1],"data":[1001]}]}'


async def test_an_inference_is_the_ranking_of_the_same_query(running, client):
    ranked = await running.rank(user_id=3, items=[1001, 1002, 1003], history=[1005], k=2)
    answer = await client.model_infer(
        "shop",
        request=asking(
            tensor("user_id", 3),
            tensor("items", 1001, 1002, 1003),
            tensor("history", 1005),
            tensor("k", 2),
            id="42",
        ),
    )
    assert (answer.model_name, answer.model_version, answer.id) == ("shop", "0", "42")
    found = values_of(answer)
    assert list(zip(found["ids"], found["scores"], strict=True)) == [
        (item["id"], item["score"]) for item in ranked.json()["items"]
    ]
    assert [(o.name, o.datatype, o.shape) for o in answer.outputs] == [
        ("ids", "INT64", [2]),
        ("scores", "FP64", [2]),
    ]


async def test_ids_may_be_texts_and_come_back_as_such(client):
    # No digits: this client makes a number of every text that could be one.
    request = asking(tensor("items", "new", "ü", datatype="BYTES"))
    answer = await client.model_infer("shop", request=request)
    assert sorted(values_of(answer)["ids"]) == ["new", "ü"]
    assert answer.outputs[0].datatype == "BYTES"
    assert answer.id is None


async def test_only_the_outputs_asked_for_come(client):
    for names in (["scores"], ["scores", "ids"]):
        wanted = [RequestOutput(name=name) for name in names]
        answer = await client.model_infer(
            "shop", request=asking(tensor("items", 1001), outputs=wanted)
        )
        assert [output.name for output in answer.outputs] == names


async def test_parameters_without_a_feature_are_named(client):
    request = asking(tensor("items", 1001), parameters={"hour": 7, "device": "phone"})
    answer = await client.model_infer("shop", request=request)
    assert answer.parameters == {"ignored": "device, hour"}


async def test_an_inference_carries_the_headers_of_a_ranking_and_is_counted(running):
    answer = await running.client.post("/v2/models/shop/infer", content=INFERENCE)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers[HEADER_VERSION] == "0"
    assert answer.headers[HEADER_BATCH] == "none"
    assert float(answer.headers[HEADER_WATERMARK]) == running.publisher.latest.watermark.last
    report = await running.report()
    assert report.counters[report.stable.digest].requests == 1


async def test_the_rollout_decides_which_version_infers(running, client):
    """Whoever has the candidate by batch has it here, and nobody else."""
    publisher = running.publisher
    candidate = publisher.publish(random_rows(publisher, 20, 30, seed=1))
    await running.in_force(candidate=candidate, mode="Gray", advanced=5)
    await running.state(candidate)
    for user in range(20):
        answer = await client.model_infer(
            "shop", request=asking(tensor("user_id", user), tensor("items", 1001))
        )
        assert answer.model_version == str(int(batch_of("s", str(user), 10) < 5))
    for version in ("0", "1"):
        with pytest.raises(BadRequestError) as error:
            await client.model_version_infer("shop", version, request=asking(tensor("items", 1001)))
        assert "the release says" in error.value.body["error"]
    report = await running.report()
    assert sum(each.requests for each in report.counters.values()) == 20


async def test_the_metadata_tell_the_tensors_and_the_versions_held(running, client):
    publisher = running.publisher
    candidate = publisher.publish(random_rows(publisher, 20, 30, seed=1))
    await running.in_force(candidate=candidate)
    await running.state(candidate)
    server = await client.read_server_metadata()
    assert (server.name, server.extensions) == ("millstream-server", [])
    model = await client.read_model_metadata("shop")
    assert (model.name, model.versions) == ("shop", ["0", "1"])
    assert [(each.name, each.datatype, each.shape) for each in model.inputs] == [
        ("user_id", "BYTES", [1]),
        ("items", "BYTES", [-1]),
        ("history", "BYTES", [-1]),
        ("k", "INT64", [1]),
    ]
    assert [(each.name, each.datatype, each.shape) for each in model.outputs] == [
        ("ids", "BYTES", [-1]),
        ("scores", "FP64", [-1]),
    ]
    assert await client.read_model_version_metadata("shop", "1") == model


async def test_it_is_live_first_and_ready_later(start):
    running = await start()
    client = client_of(running)
    await client.check_server_liveness()
    for check in (client.check_server_readiness(), client.check_model_readiness("shop")):
        with pytest.raises(ServiceUnavailableError) as error:
            await check
        assert error.value.body["ready"] is False
        assert "NoRelease" in error.value.body["error"]
    status, message = await refused(running, INFERENCE)
    assert (status, "no version is in force" in message) == (503, True)

    publisher = running.publisher
    base = publisher.publish(random_rows(publisher, 5, 5))
    await running.in_force(stable=base)
    await client.check_server_readiness()
    await client.check_model_readiness("shop")


async def test_a_version_is_ready_held_or_not_here(running, client):
    publisher = running.publisher
    later = publisher.publish(random_rows(publisher, 5, 5, seed=1))
    bad = publisher.publish(random_rows(publisher, 5, 5, seed=2))
    publisher.objects.damage("data/2-1/serve/user/0-1023.rows", lambda data: data[:-1])
    await running.in_force(candidate=later, hold=(bad,))
    await running.state(later)
    await running.state(bad)
    await client.check_model_version_readiness("shop", "1")
    with pytest.raises(ServiceUnavailableError) as error:
        await client.check_model_version_readiness("shop", "2")
    assert error.value.body["error"] == "version 2 is refused Truncated"
    for asked in (
        client.check_model_version_readiness("shop", "3"),
        client.read_model_version_metadata("shop", "3"),
    ):
        with pytest.raises(ApiError) as error:
            await asked
        assert error.value.status_code == 404

    publisher.objects.fail_with = StoreUnavailable("gone")
    waiting = bad.model_copy(update={"version": 4, "digest": "4" * 64})
    await running.in_force(candidate=waiting)
    with pytest.raises(ServiceUnavailableError) as error:
        await client.check_model_version_readiness("shop", "4")
    assert "is loading" in error.value.body["error"]


async def test_another_model_is_not_here(running, client):
    for asked in (
        client.read_model_metadata("shoe"),
        client.check_model_readiness("shoe"),
        client.model_infer("shoe", request=asking(tensor("items", 1001))),
    ):
        with pytest.raises(ApiError) as error:
            await asked
        assert error.value.status_code == 404
        assert error.value.body == {"error": "there is no model 'shoe' here: it is 'shop'"}
    report = await running.report()
    assert report.counters[report.stable.digest].requests == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/v2/", 200, id="a slash at the end"),
        pytest.param("GET", "/v2/models/shop/", 200, id="a slash behind the model"),
        pytest.param("GET", "/v2/models", 404, id="all models"),
        pytest.param("GET", "/v2/repository/index", 404, id="an extension"),
        pytest.param("GET", "/v2x", 404, id="no part of the protocol"),
        pytest.param("POST", "/v2", 405, id="posting to the server"),
        pytest.param("POST", "/v2/models/shop", 405, id="posting to the model"),
        pytest.param("GET", "/v2/models/shop/infer", 405, id="an inference by GET"),
        pytest.param("GET", "/v2/models/shop/versions/0/infer", 405, id="one by version"),
    ],
)
async def test_what_is_not_there_is_refused(running, method, path, status):
    answer = await running.client.request(method, path)
    assert answer.status_code == status
    assert (status == 405) == ("allow" in answer.headers)
    assert status == 200 or len(answer.json()["error"]) > 0


async def test_errors_have_the_form_of_the_protocol(running, monkeypatch):
    status, message = await refused(running, b"{")
    assert (status, "the body is not JSON" in message) == (400, True)
    status, message = await refused(running, b" " * 300_000)
    assert (status, "bytes" in message) == (413, True)
    status, message = await refused(
        running, INFERENCE, headers={"content-type": "application/msgpack"}
    )
    assert (status, "send application/json" in message) == (415, True)
    status, message = await refused(
        running, INFERENCE, headers={"inference-header-content-length": "9"}
    )
    assert (status, "binary" in message) == (415, True)
    too_wide = INFERENCE.replace(b"1001", b"9223372036854775808")
    status, message = await refused(running, too_wide)
    assert (status, "64-bit" in message) == (400, True)
    monkeypatch.setattr("millstream_serving.ranking.answers.best_of", lambda *_: 1 / 0)
    status, _ = await refused(running, INFERENCE)
    assert status == 500


async def test_without_a_finite_score_the_error_names_the_version(running):
    publisher = running.publisher
    bad = publisher.publish(dense=overflowing_dense(publisher.architecture))
    await running.in_force(stable=bad)
    answer = await running.client.post("/v2/models/shop/infer", content=INFERENCE)
    assert (answer.status_code, answer.headers[HEADER_VERSION]) == (500, "1")
    assert "no finite score" in answer.json()["error"]
