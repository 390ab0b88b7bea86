"""Traces as a collector gets them: of requests, and of versions from trainer to first answer."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from millstream_api.names import HEADER_VERSION
from millstream_api.settings import StoreSettings, TracingSettings
from millstream_core.telemetry.exporting import SpanExporter
from millstream_core.telemetry.spans import place_of
from tests.builders.objects import MemoryObjects
from tests.builders.otlp import collector
from tests.builders.serving import Publisher, random_rows
from tests.builders.trainer import Run, make_settings, manifests
from tests.integration.serving.test_process import environment

STAGES = ("read", "wait", "features", "look up", "score", "answer")


@pytest.fixture
def receiver():
    with collector() as made:
        yield made


@pytest.fixture
async def traced(start, receiver):
    """A server that sends traces, of the requests that ask for one."""

    async def begin(ratio=0.0):
        tracing = TracingSettings(endpoint=receiver.url, sample_ratio=ratio)
        running = await start(tracing=tracing)
        base = running.publisher.publish(random_rows(running.publisher, 20, 30))
        await running.in_force(stable=base)
        return running

    return begin


async def everything(running, receiver):
    """All spans; a server that leaves sends what it has."""
    running.leave.set()
    await running.task
    return receiver.spans


def named(spans, name):
    return [span for span in spans if span.name == name]


async def test_a_request_is_a_trace_of_its_stages_in_order(traced, receiver):
    running = await traced(ratio=1.0)
    answer = await running.rank(user_id=3, items=[1001, 1002])
    spans = await everything(running, receiver)
    [request] = named(spans, "POST /v1/rank")
    assert (request.parent, request.kind, request.status) == ("", 2, 0)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/rank",
        "http.response.status_code": 200,
        "millstream.version": answer.headers[HEADER_VERSION],
        "millstream.batch": str(answer.json()["batch"]),
    }
    assert request.resource["service.name"] == "millstream-server"
    assert request.resource["millstream.model"] == "shop"
    stages = sorted((s for s in spans if s.parent == request.span), key=lambda s: s.start)
    assert tuple(stage.name for stage in stages) == STAGES
    assert {stage.trace for stage in stages} == {request.trace}
    assert stages[0].start == request.start
    assert stages[-1].end == request.end
    for before, after in pairwise(stages):
        assert before.start <= before.end == after.start


async def test_what_a_version_remembers_takes_no_turn(traced, receiver):
    running = await traced(ratio=1.0)
    for _ in range(2):
        assert (await running.client.get("/recommend/3")).status_code == 200
    spans = await everything(running, receiver)
    first, again = sorted(named(spans, "GET /recommend/{user_id}"), key=lambda s: s.start)
    assert {s.name for s in spans if s.parent == first.span} == set(STAGES)
    assert {s.name for s in spans if s.parent == again.span} == {"read", "answer"}


@pytest.mark.parametrize(
    ("method", "path", "body", "name", "status"),
    [
        ("GET", "/recommend/somebody", None, "GET /recommend/{user_id}", 200),
        ("POST", "/v1/rank", {"items": []}, "POST /v1/rank", 400),
        (
            "POST",
            "/v2/models/shop/infer",
            {"inputs": [{"name": "items", "datatype": "INT64", "shape": [1], "data": [1001]}]},
            "POST /v2/models/{model}/infer",
            200,
        ),
    ],
)
async def test_a_span_is_named_after_the_route_and_says_what_came_of_it(
    traced, receiver, method, path, body, name, status
):
    running = await traced(ratio=1.0)
    answer = await running.client.request(method, path, json=body)
    assert answer.status_code == status
    [request] = named(await everything(running, receiver), name)
    assert request.attributes["http.response.status_code"] == status
    assert request.attributes["millstream.version"] == ("0" if status == 200 else "none")
    assert request.status == 0, "nothing is wrong with the server"


@pytest.mark.parametrize("path", ["/v1/rank", "/v2/models/shop/infer"])
async def test_a_query_that_is_turned_away_is_a_trace_without_stages(
    traced, receiver, monkeypatch, path
):
    running = await traced(ratio=1.0)
    monkeypatch.setattr("millstream_serving.ranking.lanes.Lane.has_room", lambda *_: False)
    answer = await running.client.post(path, json={"items": [1001]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    spans = await everything(running, receiver)
    [request] = [span for span in spans if span.attributes.get("http.response.status_code") == 503]
    assert request.name.startswith("POST")
    assert [span.name for span in spans if span.parent == request.span] == ["answer"]


@pytest.mark.parametrize(
    "broken", ["millstream_serving.ranking.answers.best_of", "millstream_serving.http.app.ranked"]
)
async def test_a_fault_of_the_server_is_a_failed_span(traced, receiver, monkeypatch, broken):
    running = await traced(ratio=1.0)
    monkeypatch.setattr(broken, lambda *_, **__: 1 / 0)
    assert (await running.rank(items=[1001])).status_code == 500
    [request] = named(await everything(running, receiver), "POST /v1/rank")
    assert (request.status, request.attributes["http.response.status_code"]) == (2, 500)


@pytest.mark.parametrize(
    ("flags", "ratio", "count"),
    [
        pytest.param("01", 0.0, 1, id="a caller that samples is followed"),
        pytest.param("00", 1.0, 0, id="one that does not is not"),
    ],
)
async def test_a_callers_decision_is_ours(traced, receiver, flags, ratio, count):
    running = await traced(ratio)
    header = {"traceparent": f"00-{'4b' * 16}-{'a1' * 8}-{flags}"}
    await running.client.post("/v1/rank", json={"items": [1001]}, headers=header)
    requests = named(await everything(running, receiver), "POST /v1/rank")
    assert [(each.trace, each.parent) for each in requests] == [("4b" * 16, "a1" * 8)] * count


async def test_a_share_of_the_other_requests_is_traced(traced, receiver):
    running = await traced(ratio=0.5)
    for _ in range(60):
        await running.rank(items=[1001])
    traced_requests = named(await everything(running, receiver), "POST /v1/rank")
    assert 5 < len(traced_requests) < 55
    assert len({each.trace for each in traced_requests}) == len(traced_requests)


async def test_a_collector_that_is_away_changes_no_answer_and_is_in_the_metrics(traced, receiver):
    receiver.status = 400
    running = await traced(ratio=1.0)
    for _ in range(20):
        assert (await running.rank(items=[1001])).status_code == 200

    async def counted():
        text = (await running.client.get("/metrics")).text
        [line] = [each for each in text.splitlines() if 'dropped_total{kind="trace"}' in each]
        return float(line.split()[-1]) >= 20

    assert await running.until(counted)


async def test_publish_load_and_first_answer_are_one_trace(start, receiver):
    """Two programs that know nothing of each other but the version."""
    objects = MemoryObjects()
    exporter = SpanExporter(receiver.url, {"service.name": "millstream-trainer"}, gather=0.01)
    settings = make_settings(store=StoreSettings(bucket="models", prefix="models"))
    Run(objects, settings, exporter=exporter).run()
    exporter.close()
    published = manifests(objects, settings)
    version = published[max(published)]
    running = await start(Publisher(objects), tracing=TracingSettings(endpoint=receiver.url))
    await running.in_force(stable=version.ref())
    await running.state(version.ref())
    for _ in range(3):
        await running.rank(user_id=1, items=[1, 2])
    spans = await everything(running, receiver)

    place = place_of(version.ref())
    trace = [span for span in spans if int(span.trace, 16) == place.trace]
    [publish], [load], [first] = (named(trace, n) for n in ("publish", "load", "first answer"))
    assert (int(publish.span, 16), publish.parent) == (place.span, "")
    assert (load.parent, first.parent) == (publish.span, load.span)
    assert load.end == first.start <= first.end
    assert publish.resource["service.name"] == "millstream-trainer"
    assert publish.attributes["millstream.version"] == str(version.version)
    assert first.attributes["millstream.role"] == "stable"
    parts = [span.name for span in trace if span.parent == publish.span and span is not load]
    assert parts == ["wait", "seal", "write", "announce"]
    assert len({span.trace for span in named(spans, "publish")}) == len(published)


async def test_a_refused_version_says_so_in_its_trace(traced, receiver):
    running = await traced()
    bad = running.publisher.publish({"item": {1001: np.full(8, np.nan, np.float32)}})
    running.release(candidate=bad, advanced=1, mode="Gray")
    await running.state(bad)
    loads = named(await everything(running, receiver), "load")
    [load] = [each for each in loads if int(each.trace, 16) == place_of(bad).trace]
    assert load.attributes["millstream.refused"] == "NonFiniteRows"
    assert load.status == 2


def test_without_traces_nothing_of_opentelemetry_is_imported():
    """It would be a quarter of a second of every start."""
    script = """
import sys
import millstream_serving.main, millstream_serving.telemetry.parts as parts
from millstream_api.settings import ServerSettings, StoreSettings
settings = ServerSettings(model="m", store=StoreSettings(bucket="b"), release="file:/r")
parts.Telemetry.of(settings, "r", stopwatch=None, clock=None)
found = sorted(name for name in sys.modules if name.startswith("opentelemetry"))
assert not found, found[:5]
"""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
