"""The server as its callers and its operator see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from millstream_api.names import HEADER_BATCH, HEADER_BUDGET, HEADER_VERSION, HEADER_WATERMARK
from millstream_api.release import batch_of
from millstream_core.store import StoreUnavailable
from millstream_serving.engine.best import best_of
from millstream_serving.loading.pace import Pace
from millstream_serving.ranking.lanes import Lane
from tests.builders.serving import (
    marked_dense,
    marked_rows,
    overflowing_dense,
    random_dense,
    random_rows,
)


def user_in(batches, salt="s"):
    """Some user whose batch is one of these."""
    return next(user for user in range(1000) if batch_of(salt, str(user), 10) in batches)


def reason_of(answer):
    return answer.json()["error"]["reason"]


# Queries


async def test_a_ranking_names_its_version_its_watermark_and_its_batch(running):
    """R22: so that whoever reads an answer knows how fresh it is."""
    answer = await running.rank(user_id=3, items=[1001, 1002, "something new"], k=2)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["version"], body["batch"]) == (0, batch_of("s", "3", 10))
    assert len(body["items"]) == 2
    assert body["items"][0]["score"] >= body["items"][1]["score"]
    assert answer.headers[HEADER_VERSION] == "0"
    assert answer.headers[HEADER_BATCH] == str(body["batch"])
    assert float(answer.headers[HEADER_WATERMARK]) == running.publisher.latest.watermark.last


async def test_a_ranking_without_a_user_is_answered_by_stable_without_a_batch(running):
    answer = await running.rank(items=[1001])
    assert answer.json()["batch"] is None
    assert answer.headers[HEADER_BATCH] == "none"


async def test_who_asks_for_a_recommendation_again_is_told_the_same_until_the_next_version(running):
    publisher = running.publisher
    before = (await running.report()).stable

    async def recommended():
        answer = await running.client.get("/recommend/4", params={"k": 5})
        return int(answer.headers[HEADER_VERSION]), answer.json()["items"]

    first, again = await recommended(), await recommended()
    assert first == again
    text = (await running.client.get("/metrics")).text
    assert 'millstream_serving_recommendations_total{remembered="yes"} 1.0' in text
    assert 'millstream_serving_recommendations_total{remembered="no"} 1.0' in text
    assert f'request_duration_seconds_count{{role="stable",version="{before}"}} 1.0' in text
    assert (await running.report()).counters[before.digest].requests == 2

    after = publisher.publish(random_rows(publisher, 20, 30, seed=5))
    await running.in_force(stable=after)
    version, items = await recommended()
    assert version == after.version
    assert items != first[1]
    await running.in_force(stable=before)
    assert await recommended() == first


async def test_a_recommendation_is_not_what_the_user_has_seen(running):
    seen = set(running.publisher.tables["history"][4].tolist())
    answer = await running.client.get("/recommend/4", params={"k": 5})
    ids = [item["id"] for item in answer.json()["items"]]
    assert len(ids) == 5
    assert not seen & set(ids)


@pytest.mark.parametrize("user", ["a/b", "100%25", "100%", "ü", "?x", "a b"])
async def test_any_text_is_a_user_when_it_is_percent_encoded(running, user):
    path = "/recommend/" + "".join(f"%{byte:02X}" for byte in user.encode())
    answer = await running.client.get(path)
    assert answer.headers[HEADER_BATCH] == str(batch_of("s", user, 10))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "reason"),
    [
        pytest.param("POST", "/v1/rank", b"{", 400, "MalformedJson", id="half a document"),
        pytest.param("POST", "/v1/rank", b'{"items":[1],"x":1}', 400, "UnknownField", id="a typo"),
        pytest.param("POST", "/v1/rank", b'{"items":[1.5]}', 400, "WrongType", id="a fraction"),
        pytest.param(
            "POST", "/v1/rank", b'{"items":[9223372036854775808]}', 400, "IdOutOfRange", id="2^63"
        ),
        pytest.param("POST", "/v1/rank", b" " * 300_000, 413, "BodyTooLarge", id="a long body"),
        pytest.param("GET", "/v1/rank", b"", 405, "WrongMethod", id="a ranking by GET"),
        pytest.param("POST", "/release", b"", 405, "WrongMethod", id="writing the release"),
        pytest.param("GET", "/v1/rnak", b"", 404, "NoSuchPath", id="a path that is not there"),
        pytest.param("GET", "/recommend/3?k=x", b"", 400, "WrongType", id="k that is no number"),
        pytest.param("GET", "/recommend/", b"", 400, "WrongType", id="recommending to nobody"),
    ],
)
async def test_a_bad_request_gets_a_reason_and_a_sentence(
    running, method, path, body, status, reason
):
    answer = await running.client.request(method, path, content=body)
    assert answer.status_code == status
    assert reason_of(answer) == reason
    assert len(answer.json()["error"]["message"]) > 10


async def test_a_long_body_without_its_length_is_cut_off(running):
    async def endless():
        for _ in range(100):
            yield b" " * 10_000

    answer = await running.client.post("/v1/rank", content=endless())
    assert (answer.status_code, reason_of(answer)) == (413, "BodyTooLarge")


async def test_a_body_in_chunks_is_read_whole(running):
    async def chunks():
        yield b'{"items":'
        yield b"[1001]}"

    assert (await running.client.post("/v1/rank", content=chunks())).status_code == 200


async def test_a_body_that_does_not_arrive_is_given_up(running, monkeypatch):
    monkeypatch.setattr("millstream_serving.http.connection.REQUEST_SECONDS", 0.1)
    port = running.client.base_url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()


async def head_of(reader):
    return (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).lower()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="a TLS handshake"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1e3\r\n\r\n", id="a length of 1e3"
        ),
        pytest.param(b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n", id="a path of no letters"),
    ],
)
async def test_what_is_no_request_is_refused_as_others_are(running, said):
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    writer.write(said)
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    assert b" 400 " in head
    assert json.loads(body)["error"]["reason"] == "MalformedHttp"
    writer.close()


async def test_a_head_without_an_end_is_cut_off(running):
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\na: ")

    async def go_on():
        while not reader.at_eof():
            writer.write(b"b" * 10_000)
            await writer.drain()
            await asyncio.sleep(0.001)

    with contextlib.suppress(ConnectionError):
        await asyncio.wait_for(go_on(), 10)
    writer.close()


async def test_a_caller_that_does_not_ask_to_the_end_is_let_go(running, monkeypatch):
    monkeypatch.setattr("millstream_serving.http.connection.REQUEST_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost:")
    assert b" 408 " in await head_of(reader)
    assert b"RequestTooSlow" in await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def test_an_idle_connection_is_closed_at_last(running, monkeypatch):
    for name in ("REQUEST_SECONDS", "IDLE_SECONDS"):
        monkeypatch.setattr(f"millstream_serving.http.connection.{name}", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.read(), 10)).endswith(b'{"status":"ok"}')
    writer.close()


@pytest.mark.parametrize(
    ("said", "statuses"),
    [
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n" * 100, [200] * 100, id="a hundred at once"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\nnonsense\r\n",
            [200, 404, 400],
            id="nonsense at the end",
        ),
        pytest.param(
            b'POST /v1/rank HTTP/1.1\r\ncontent-length: 16\r\n\r\n{"items":[1001]}'
            b"GET /healthz HTTP/1.1\r\n\r\n",
            [200, 200],
            id="one that is scored before one that is not",
        ),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n",
            [200],
            id="nothing behind the last",
        ),
        pytest.param(b"GET /healthz HTTP/1.0\r\n\r\n", [200], id="HTTP/1.0"),
        pytest.param(
            b"GET http://shop:8080/healthz HTTP/1.1\r\nhost: shop\r\n\r\n",
            [200],
            id="as to a proxy",
        ),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
            [200],
            id="an upgrade that is not made",
        ),
        pytest.param(b"HEAD /healthz HTTP/1.1\r\n\r\n", [405], id="a head alone"),
        pytest.param(
            b"POST /v1/rank HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", [413], id="a huge body"
        ),
        pytest.param(
            b"POST /v1/rank HTTP/1.1\r\ncontent-length: 16\r\nexpect: 100-continue\r\n\r\n"
            b'{"items":[1001]}',
            [100, 200],
            id="a body that waits to be wanted",
        ),
    ],
)
async def test_requests_are_answered_in_turn_on_one_connection(running, said, statuses):
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    writer.write(said)
    writer.write_eof()
    answered = await asyncio.wait_for(reader.read(), 10)
    assert [int(each) for each in re.findall(rb"HTTP/1.1 (\d+)", answered)] == statuses
    if said.startswith(b"HEAD"):
        assert answered.endswith(b"\r\n\r\n")
    writer.close()


async def test_a_caller_that_asks_ahead_and_reads_nothing_holds_nobody_up(start, monkeypatch):
    """What it is answered waits in memory, so there must be an end to it, and to its turn."""
    running, asked, answers = await start(threads=1), 200, 0

    def a_megabyte(_):
        nonlocal answers
        answers += 1
        return b" " * 1_000_000

    monkeypatch.setattr("millstream_serving.http.metrics.Metrics.text", a_megabyte)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    reader._transport.pause_reading()
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n" * asked)

    async def is_answered():
        return answers > 0

    await running.until(is_answered)
    for _ in range(5):
        assert (await running.client.get("/healthz")).status_code == 200
    assert answers < asked / 2, "sockets take a few"
    reader._transport.resume_reading()
    async with asyncio.timeout(20):
        while answers < asked:
            await reader.read(1 << 20)
    writer.transport.abort()


async def test_a_caller_that_reads_nothing_is_let_go(running, monkeypatch):
    """A server that leaves must not wait for it for ever."""
    monkeypatch.setattr("millstream_serving.http.connection.REQUEST_SECONDS", 0.1)
    monkeypatch.setattr("millstream_serving.http.metrics.Metrics.text", lambda _: b" " * 50_000_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
    await head_of(reader)
    reader._transport.pause_reading()
    running.leave.set()
    await asyncio.wait_for(running.task, 10)
    writer.transport.abort()


async def test_a_connection_stays_open_between_requests(running, monkeypatch):
    monkeypatch.setattr("millstream_serving.http.connection.REQUEST_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b" 200 " in await head_of(reader)
        await reader.readexactly(15)
        await asyncio.sleep(0.3)  # longer than a head may take
    writer.close()


@dataclass
class Turns:
    """Of all lanes: none comes before the gate is opened."""

    gate: threading.Event = field(default_factory=threading.Event)
    is_due: threading.Event = field(default_factory=threading.Event)  # somebody waits for one


@pytest.fixture
def turns(monkeypatch):
    made, take_turn = Turns(), Lane._take_turn

    def wait_for_turn(lane):
        made.is_due.set()
        if made.gate.is_set():
            take_turn(lane)
        else:
            lane.loop.call_later(0.005, wait_for_turn, lane)

    monkeypatch.setattr(Lane, "_take_turn", wait_for_turn)
    return made


@pytest.fixture
async def full(start, monkeypatch, turns):
    """A server whose one lane has a query that does not get its turn, and no room for another."""
    monkeypatch.setattr("millstream_serving.main.WAITING_PER_LANE", 1)
    running = await start(threads=1)
    base = running.publisher.publish(random_rows(running.publisher, 20, 1000))
    await running.in_force(stable=base)
    running.gate, running.is_at_work = turns.gate, turns.is_due
    running.held = asyncio.create_task(running.rank(user_id=1, items=[1001]))
    assert await asyncio.to_thread(turns.is_due.wait, 20)
    yield running
    turns.gate.set()
    assert (await running.held).status_code == 200


async def test_more_queries_than_may_wait_are_turned_away_at_once(full):
    refused = await full.rank(items=[1001])
    assert (refused.status_code, reason_of(refused)) == (503, "Overloaded")
    assert refused.headers["retry-after"] == "1"
    report = await full.report()
    assert report.counters[report.stable.digest].requests == 0
    full.gate.set()
    await full.held
    report = await full.report()
    assert report.counters[report.stable.digest].requests == 1
    assert report.counters[report.stable.digest].errors == 0


async def test_a_full_server_goes_on_telling_what_it_remembers(full):
    assert (await full.client.get("/recommend/4")).status_code == 503
    full.gate.set()
    await full.held
    first = await full.client.get("/recommend/4")
    full.gate.clear()
    full.is_at_work.clear()
    again = asyncio.create_task(full.rank(user_id=1, items=[1001]))
    assert await asyncio.to_thread(full.is_at_work.wait, 20)
    assert (await full.client.get("/recommend/5")).status_code == 503
    assert (await full.client.get("/recommend/4")).json() == first.json()
    full.gate.set()
    assert (await again).status_code == 200


@pytest.mark.parametrize("by", ["the settings", "the request"])
async def test_a_query_whose_turn_comes_too_late_is_refused_and_counted(start, turns, by):
    running = await start(threads=1, latency_budget_millis=1 if by == "the settings" else 30_000)
    base = running.publisher.publish(random_rows(running.publisher, 20, 30))
    await running.in_force(stable=base)
    headers = {HEADER_BUDGET: "1"} if by == "the request" else {}
    query = {"user_id": 1, "items": [1001]}
    asking = asyncio.create_task(running.client.post("/v1/rank", json=query, headers=headers))
    assert await asyncio.to_thread(turns.is_due.wait, 20)
    due = time.monotonic() + 1e-3

    async def is_late():
        return time.monotonic() > due

    await running.until(is_late)
    turns.gate.set()
    late = await asking
    assert (late.status_code, reason_of(late)) == (503, "TooLate")
    assert late.headers["retry-after"] == "1"
    metrics = (await running.client.get("/metrics")).text
    assert "millstream_serving_requests_late_total 1.0" in metrics
    counters = (await running.report()).counters[base.digest]
    assert (counters.requests, counters.errors) == (0, 0)


@pytest.mark.parametrize("budget", ["0", "-1", "1.5", "soon", "60001", "", "1" * 5000])
async def test_a_latency_budget_that_is_none_is_refused(running, budget):
    answer = await running.client.post(
        "/v1/rank", json={"items": [1]}, headers={HEADER_BUDGET: budget.encode()}
    )
    assert answer.status_code == 400
    assert "x-latency-budget-millis must be a whole number from 1 to 60000" in answer.text


async def test_a_fault_of_the_server_is_answered_as_such_and_counted(running, monkeypatch):
    monkeypatch.setattr("millstream_serving.ranking.answers.best_of", lambda *_: 1 / 0)
    answer = await running.rank(user_id=1, items=[1001])
    assert (answer.status_code, reason_of(answer)) == (500, "Internal")
    report = await running.report()
    assert report.counters[report.stable.digest].errors == 1


async def test_a_fault_beside_the_ranking_is_answered_as_such(running, monkeypatch):
    monkeypatch.setattr("millstream_serving.replica.Replica.report", lambda *_: 1 / 0)
    answer = await running.client.get("/release")
    assert (answer.status_code, reason_of(answer)) == (500, "Internal")


# Before and after versions


async def test_without_a_release_it_is_not_ready(start):
    running = await start()
    answer = await running.client.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "NoRelease")
    assert reason_of(await running.rank(items=[1])) == "NoVersion"


async def test_before_the_first_promotion_it_is_ready_and_says_that_it_cannot_answer(start):
    running = await start()
    base = running.publisher.publish(random_rows(running.publisher, 5, 5))
    await running.in_force(candidate=base)
    assert (await running.client.get("/readyz")).status_code == 200
    await running.state(base)
    answer = await running.rank(user_id=1, items=[1])
    assert (answer.status_code, reason_of(answer)) == (503, "NoVersion")
    assert answer.headers["retry-after"]
    assert answer.headers[HEADER_VERSION] == "none"


async def test_a_replica_that_starts_mid_rollout_is_ready_when_it_holds_everything(start):
    running = await start()
    publisher = running.publisher
    stable = publisher.publish(random_rows(publisher, 5, 5))
    candidate = publisher.publish(random_rows(publisher, 5, 5, seed=1))
    key = next(key for key in publisher.objects.objects if "data/1-1/serve/dense" in key)
    missing = publisher.objects.objects[key]

    real_get = publisher.objects.get
    away = StoreUnavailable("gone")

    def get(wanted, at_most=None):
        if away is not None and wanted == key:
            raise away
        return real_get(wanted, at_most)

    publisher.objects.get = get
    running.release(stable=stable, candidate=candidate, advanced=5, mode="Gray")
    await running.reports(lambda report: report.stable == stable)
    answer = await running.client.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "Loading")
    assert missing is publisher.objects.objects[key]

    away = None

    async def is_ready():
        return (await running.client.get("/readyz")).status_code == 200

    await running.until(is_ready)


async def test_loading_is_hurried_until_the_replica_is_ready_and_spread_out_from_then_on(
    start, monkeypatch
):
    """A pod that is not ready has no users whom the work on its versions could disturb."""
    rests = []
    monkeypatch.setattr(Pace, "rest", lambda _: rests.append(None))
    running = await start()
    publisher = running.publisher
    versions = [publisher.publish(random_rows(publisher, 5, 5, seed)) for seed in range(4)]
    running.release(stable=versions[3], hold=(versions[2], versions[0]))

    async def is_ready():
        return (await running.client.get("/readyz")).status_code == 200

    await running.until(is_ready)
    assert not rests
    latest = publisher.publish(random_rows(publisher, 5, 5, seed=9))
    await running.in_force(stable=latest, hold=(versions[3], versions[2]))
    assert rests


async def test_a_replica_whose_stable_is_refused_does_not_become_ready(start):
    running = await start()
    publisher = running.publisher
    older = publisher.publish(random_rows(publisher, 5, 5))
    bad = publisher.publish(random_rows(publisher, 5, 5, seed=1))
    publisher.objects.damage("data/1-1/serve/user/0-1023.rows", lambda data: data[:-1])
    running.release(stable=bad, hold=(older,))
    report = await running.state(bad)
    await running.reports(lambda report: report.stable == older)
    assert report.epoch == 0
    answer = await running.client.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "StableRefused")
    await running.in_force(stable=older, hold=())
    assert (await running.client.get("/readyz")).status_code == 200


async def test_a_ready_replica_stays_ready_while_a_candidate_loads_or_is_refused(running):
    assert (await running.client.get("/readyz")).status_code == 200
    bad = running.publisher.publish(random_rows(running.publisher, 5, 5, seed=1))
    running.publisher.objects.damage("data/1-1/serve/user/0-1023.rows", lambda data: data[:-1])
    await running.in_force(candidate=bad, mode="Shadow")
    assert (await running.client.get("/readyz")).status_code == 200
    report = await running.state(bad)
    [state] = [version for version in report.versions if version.ref == bad]
    assert (state.state, state.reason) == ("Refused", "Truncated")
    assert (await running.client.get("/readyz")).status_code == 200
    assert (await running.rank(user_id=1, items=[1001])).json()["version"] == 0


async def test_batches_advance_and_go_back_user_by_user(running):
    publisher = running.publisher
    candidate = publisher.publish(random_rows(publisher, 20, 30, seed=1))
    await running.in_force(candidate=candidate, mode="Gray", advanced=1)
    await running.state(candidate)
    for advanced in (1, 3, 10, 0):
        await running.in_force(advanced=advanced)
        for user in range(40):
            body = (await running.rank(user_id=user, items=[1001])).json()
            assert body["version"] == (1 if body["batch"] < advanced else 0)


async def test_users_of_a_candidate_that_is_not_ready_get_stable(running):
    publisher = running.publisher
    candidate = publisher.publish(random_rows(publisher, 20, 30, seed=1))
    publisher.objects.fail_with = StoreUnavailable("gone")
    report = await running.in_force(candidate=candidate, mode="Gray", advanced=10)
    assert report.candidate is None
    await running.reports(lambda report: not report.store.ok)
    assert (await running.client.get("/readyz")).status_code == 200
    answer = await running.rank(user_id=1, items=[1001])
    assert (answer.json()["version"], answer.status_code) == (0, 200)


async def test_a_lower_epoch_and_a_release_that_cannot_be_read_change_nothing(running):
    other = running.publisher.publish(random_rows(running.publisher, 5, 5, seed=1))
    running.epoch = 9
    await running.in_force()
    running.epoch = 3
    running.release(stable=other)
    await asyncio.sleep(0.5)
    running.release_file.write_bytes(b"{")
    await asyncio.sleep(0.5)
    report = await running.report()
    assert (report.epoch, report.stable.version) == (10, 0)


async def test_going_back_to_a_held_version_needs_no_store(running):
    publisher = running.publisher
    base = publisher.latest.ref()
    newer = [publisher.publish(random_rows(publisher, 20, 30, seed=seed)) for seed in (1, 2)]
    await running.in_force(stable=newer[1], hold=(newer[0], base))
    await running.reports(lambda r: {v.state for v in r.versions} == {"Ready"})
    publisher.objects.fail_with = StoreUnavailable("gone")
    for back in (newer[0], base, newer[1]):
        await running.in_force(stable=back, hold=(base, *newer), mode="Pinned")
        assert (await running.rank(user_id=1, items=[1001])).json()["version"] == back.version
    assert (await running.client.get("/readyz")).status_code == 200


async def test_a_store_that_is_away_at_start_is_waited_for(start):
    running = await start()
    publisher = running.publisher
    base = publisher.publish(random_rows(publisher, 5, 5))
    publisher.objects.fail_with = StoreUnavailable("nobody answers")
    running.release(stable=base)
    report = await running.reports(lambda r: not r.store.ok and r.versions)
    assert report.store.reason == "Unreachable"
    assert report.versions[0].message == "nobody answers"
    assert (await running.client.get("/readyz")).status_code == 503
    publisher.objects.fail_with = None
    await running.reports(lambda report: report.stable == base)
    assert (await running.client.get("/readyz")).status_code == 200


# Scores that are not finite


async def test_scores_that_are_not_finite_are_never_sent_but_answered_by_stable(running):
    publisher = running.publisher
    bad = publisher.publish(dense=overflowing_dense(publisher.architecture))
    await running.in_force(candidate=bad, mode="Gray", advanced=10)
    await running.state(bad)
    answer = await running.rank(user_id=1, items=[1001, 1002])
    assert (answer.status_code, answer.json()["version"]) == (200, 0)
    assert all(np.isfinite(item["score"]) for item in answer.json()["items"])
    report = await running.report()
    assert report.counters[bad.digest].nonfinite == 2
    assert report.counters[report.stable.digest].requests == 1


async def test_without_a_finite_score_the_answer_is_an_error(running):
    publisher = running.publisher
    bad = publisher.publish(dense=overflowing_dense(publisher.architecture))
    await running.in_force(stable=bad)
    answer = await running.rank(user_id=1, items=[1001, 1002])
    assert (answer.status_code, reason_of(answer)) == (500, "NonFiniteScores")
    assert answer.headers[HEADER_VERSION] == "1"
    counters = (await running.report()).counters[bad.digest]
    assert (counters.requests, counters.errors, counters.nonfinite) == (1, 1, 2)


# Shadow and counters


async def test_a_candidate_in_shadow_is_compared_and_gets_no_user(running):
    publisher = running.publisher
    dense = {
        name: -array if name.startswith("head.2") else array
        for name, array in random_dense(publisher.architecture, seed=0).items()
    }
    turned = publisher.publish(dense=dense)
    for user in range(30):
        await running.rank(user_id=user, items=list(range(1000, 1020)))
    await running.in_force(candidate=turned, mode="Shadow", salt="rollout 1")
    report = await running.reports(lambda report: report.shadow)
    assert report.shadow.correlation == pytest.approx(-1)
    assert report.shadow.requests == 30
    assert report.shadow.scores == 600
    assert report.counters[turned.digest].requests == 0


async def test_without_recorded_requests_the_shadow_makes_some_up(running):
    candidate = running.publisher.publish(random_rows(running.publisher, 1, 1, seed=1))
    await running.in_force(candidate=candidate, mode="Shadow")
    report = await running.reports(lambda report: report.shadow)
    assert report.shadow.requests == 20
    assert report.shadow.correlation > 0


async def test_no_more_requests_are_recorded_than_the_settings_say(start):
    running = await start(shadow_requests=25)
    base = running.publisher.publish(random_rows(running.publisher, 20, 30))
    await running.in_force(stable=base)
    for user in range(40):
        await running.rank(user_id=user, items=[1001, 1002])
    candidate = running.publisher.publish(random_rows(running.publisher, 1, 1, seed=1))
    await running.in_force(candidate=candidate, mode="Shadow")
    assert (await running.reports(lambda report: report.shadow)).shadow.requests == 25


async def test_counters_begin_anew_with_each_salt(running):
    base = running.publisher.latest.ref()
    for _ in range(3):
        await running.rank(user_id=1, items=[1001, 1002])
    counters = (await running.report()).counters[base.digest]
    assert counters.requests == 3
    assert counters.latency_ms_p50 > 0
    assert 0 < counters.score_mean < 1
    report = await running.in_force(salt="another")
    assert report.counters[base.digest].requests == 0


async def scrape(running):
    text = (await running.client.get("/metrics")).text
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


async def test_metrics_tell_roles_and_versions_apart_and_forget_what_is_gone(running):
    publisher = running.publisher
    candidate = publisher.publish(random_rows(publisher, 20, 30, seed=1))
    await running.in_force(candidate=candidate, mode="Gray", advanced=5)
    await running.state(candidate)
    await running.rank(user_id=user_in(range(5)), items=[1001])
    await running.rank(user_id=user_in(range(5, 10)), items=[1001])
    await running.rank(items=[1.5])
    served = {
        (s.labels["role"], s.labels["version"], s.labels["code"]): s.value
        for s in await scrape(running)
        if s.name == "millstream_serving_requests_total"
    }
    assert served == {
        ("candidate", "1", "200"): 1,
        ("stable", "0", "200"): 1,
        ("none", "none", "400"): 1,
    }
    await running.in_force(stable=candidate, candidate=None, hold=())

    async def versions():
        return {s.labels["version"] for s in await scrape(running) if "version" in s.labels}

    async def is_forgotten():
        return await versions() == {"1", "none"}

    await running.until(is_forgotten)


async def test_every_answer_tells_how_old_its_newest_event_is(running):
    """R31: from an event to an answer that knows of it, by version, as Prometheus gets it."""
    watermark = 1e9  # of the base that is published first
    before = time.time()
    await running.rank(user_id=1, items=[1001])
    found = {
        s.name.removeprefix("millstream_serving_event_to_answer_seconds"): s
        for s in await scrape(running)
        if s.name.startswith("millstream_serving_event_to_answer_seconds") and "le" not in s.labels
    }
    assert found["_count"].value == 1
    assert found["_count"].labels == {"role": "stable", "version": "0"}
    assert before - watermark <= found["_sum"].value < before - watermark + 60


# Leaving


async def test_a_server_that_leaves_says_so_and_answers_what_still_comes(start, monkeypatch):
    running = await start(linger=2.0)  # longer than a busy machine takes to ask twice
    publisher = running.publisher
    await running.in_force(stable=publisher.publish(random_rows(publisher, 20, 30)))
    assert (await running.client.get("/readyz")).status_code == 200
    running.leave.set()

    async def is_unready():
        return (await running.client.get("/readyz")).json()["reason"] == "Draining"

    await running.until(is_unready)
    answer = await running.rank(user_id=1, items=[1001])
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    monkeypatch.setattr(Lane, "has_room", lambda *_: False)
    refused = await running.rank(user_id=1, items=[1001])
    assert (refused.status_code, refused.headers["connection"]) == (503, "close")
    await asyncio.wait_for(running.task, 10)
    with pytest.raises(httpx.TransportError):
        await running.rank(user_id=1, items=[1001])


async def test_what_is_in_flight_is_answered_however_long_it_takes(start, monkeypatch):
    running = await start()
    publisher = running.publisher
    await running.in_force(stable=publisher.publish(random_rows(publisher, 20, 30)))
    gate, is_scoring = threading.Event(), threading.Event()

    def slow(logits, count):
        is_scoring.set()
        gate.wait(20)
        return best_of(logits, count)

    monkeypatch.setattr("millstream_serving.ranking.answers.best_of", slow)
    _, idle = await asyncio.open_connection("127.0.0.1", running.client.base_url.port)
    asking = asyncio.create_task(running.rank(user_id=1, items=[1001]))
    await asyncio.to_thread(is_scoring.wait, 20)
    running.leave.set()
    await asyncio.sleep(0.5)  # ten times as long as it lingers
    assert not running.task.done()
    gate.set()
    assert (await asking).status_code == 200
    await asyncio.wait_for(running.task, 10)
    idle.close()


# One version per answer


async def test_no_answer_mixes_versions_while_versions_come_and_go(start):
    """Each version writes its number into all its rows and weights; see marked_dense."""
    running = await start(threads=2)
    publisher = running.publisher
    users, items = 30, 60

    def publish(mark, *, base=False):
        rows = marked_rows(publisher, users, items, mark)
        return publisher.publish(rows, dense=marked_dense(publisher.architecture, mark), base=base)

    stable = publish(0)
    await running.in_force(stable=stable)
    answered = Counter()
    is_over = False

    async def ask(seed):
        rng = np.random.default_rng(seed)
        while not is_over:
            asked = (1000 + rng.integers(0, items, 20)).tolist()
            answer = await running.rank(user_id=int(rng.integers(users)), items=asked)
            assert answer.status_code == 200, answer.text
            version = answer.json()["version"]
            for item in answer.json()["items"]:
                logit = np.log(item["score"] / (1 - item["score"]))
                assert logit == pytest.approx(version / 100, abs=1e-4), answer.text
            answered[version] += len(asked)

    asking = [asyncio.create_task(ask(seed)) for seed in range(6)]
    held = []
    for mark in range(1, 25):
        candidate = await asyncio.to_thread(publish, mark, base=mark % 7 == 0)
        await running.in_force(candidate=candidate, advanced=0, salt=f"s{mark}", mode="Gray")
        await running.state(candidate)
        for advanced in (1, 5, 10):
            await running.in_force(advanced=advanced)
        if mark % 3 == 0:  # taken back
            await running.in_force(candidate=None, advanced=0, mode="Steady")
            continue
        held = [stable, *held][:2]
        stable = candidate
        await running.in_force(stable=stable, candidate=None, advanced=0, hold=tuple(held))
        if mark % 5 == 0:  # back to an older one, and forth again
            await running.in_force(stable=held[0], mode="Pinned")
            await running.in_force(stable=stable, mode="Steady")
    is_over = True
    await asyncio.gather(*asking)
    assert len(answered) > 10
    assert sum(answered.values()) > 1000
