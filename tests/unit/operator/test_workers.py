"""What becomes of an object when its look fails, in each way it can."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from millstream_operator.render.metadata import Parent, selector_labels
from millstream_operator.shell import workers as workers_module
from millstream_operator.shell.cache import Key, ObjectCache
from millstream_operator.shell.children import ChildWriter
from millstream_operator.shell.credentials import CredentialReader
from millstream_operator.shell.errors import ApiUnavailable, Conflict, Forbidden
from millstream_operator.shell.events import EventRecorder
from millstream_operator.shell.metrics import Metrics
from millstream_operator.shell.parents import StatusWriter
from millstream_operator.shell.pods import PodReader
from millstream_operator.shell.queue import KeyedQueue
from millstream_operator.shell.resync import Resync
from millstream_operator.shell.store import StoreReader
from millstream_operator.shell.workers import Workers
from millstream_operator.shell.workspace import Images, Workspace
from tests.builders.fake_api import FakeApi
from tests.builders.resources import serving_document, training_document

KEY = Key("RecServing", "default", "shop")


class Bench:
    """Workers over an API server in memory, one look at a time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.now = 1000.0
        clock = lambda: self.now  # noqa: E731 - one clock for all
        self.api, self.cache, self.metrics = FakeApi(), ObjectCache(), Metrics()
        self.queue: KeyedQueue[Key] = KeyedQueue(clock, lambda: 1.0)
        self.stores = StoreReader(clock, self.queue.add, "op")
        self.children = ChildWriter(self.api, self.cache)
        self.work = Workspace(
            api=self.api,
            cache=self.cache,
            children=self.children,
            statuses=StatusWriter(self.api, self.cache),
            pods=PodReader(session),
            stores=self.stores,
            credentials=CredentialReader(self.api, clock),
            events=EventRecorder(self.api, clock, "op"),
            metrics=self.metrics,
            images=Images("trainer:1", "server:1"),
            wall=lambda: 1_800_000_000.0 + self.now,
        )
        self.workers = Workers(self.work, self.queue, clock)

    def seed(self, document: dict[str, Any]) -> Key:
        document["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        body = self.api.seed(document)
        self.cache.put(body)
        key = Key(body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
        self.queue.add(key)
        return key

    async def look(self) -> str:
        """One look at whatever is due."""
        key = await asyncio.wait_for(self.queue.get(), 1)
        return await self.workers._look(key)

    def status(self, key: Key) -> dict[str, Any]:
        return self.api.objects[key].get("status", {})

    def condition(self, key: Key, kind: str) -> tuple[str, str] | None:
        for each in self.status(key).get("conditions", ()):
            if each["type"] == kind:
                return each["status"], each["reason"]
        return None


@pytest.fixture
async def bench():
    async with aiohttp.ClientSession() as session:
        found = Bench(session)
        yield found
        await found.stores.close()


async def test_both_kinds_are_brought_about(bench):
    serving, training = bench.seed(serving_document()), bench.seed(training_document())
    assert [await bench.look(), await bench.look()] == ["done", "done"]
    kinds = {kind for kind, _, _ in bench.api.objects}
    assert {"Deployment", "StatefulSet", "Role", "RoleBinding", "PodDisruptionBudget"} <= kinds
    assert bench.condition(serving, "StoreReachable") == ("False", "SecretMissing")
    assert bench.condition(training, "Ready") == ("False", "WaitingForWorkers")


async def test_a_second_look_writes_nothing(bench):
    bench.seed(serving_document())
    await bench.look()
    bench.api.calls.clear()
    bench.now += 1
    bench.queue.add(KEY)
    await bench.look()
    assert bench.api.writes() == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ApiUnavailable("no answer"), "failed"),
        (Forbidden("may not patch"), "failed"),
        (Conflict("changed", 409), "conflict"),
    ],
)
async def test_a_status_that_cannot_be_written_is_tried_again(bench, error, outcome):
    bench.seed(serving_document())
    bench.api.fail_with, bench.api.fail_on = error, "RecServing"
    assert await bench.look() == outcome
    bench.api.fail_with = None
    bench.now += 1
    assert await bench.look() == "done"


async def test_an_object_that_is_gone_is_forgotten(bench):
    key = bench.seed(serving_document())
    await bench.look()
    del bench.api.objects[key]
    bench.cache.drop(*key)
    bench.queue.add(key)
    bench.now += 1
    assert await bench.look() == "gone"
    assert b"shop" not in bench.metrics.render()


async def test_one_that_is_gone_before_the_watch_says_so_is_forgotten_too(bench):
    key = bench.seed(serving_document())
    del bench.api.objects[key]
    assert await bench.look() == "gone"
    assert bench.cache.get(*key) is None


async def test_one_that_is_being_deleted_is_left_alone(bench):
    document = serving_document()
    document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bench.seed(document)
    assert await bench.look() == "deleted"
    assert bench.api.writes() == []


async def test_one_that_breaks_a_rule_says_which(bench):
    key = bench.seed(serving_document(versionPolicy={"pin": "seven"}))
    assert await bench.look() == "invalid"
    assert bench.condition(key, "Stalled") == ("True", "InvalidSpec")
    assert "spec.versionPolicy.pin" in str(bench.status(key))


async def test_a_mistake_of_ours_reaches_no_other_object(bench, monkeypatch, caplog):
    real = workers_module.reconcile_serving

    async def fail(work, key, body):
        if key.name == "poison":
            raise RuntimeError("a mistake")
        return await real(work, key, body)

    monkeypatch.setattr(workers_module, "reconcile_serving", fail)
    poison = bench.seed(serving_document("poison"))
    others = [bench.seed(serving_document(f"shop-{number}")) for number in range(10)]
    outcomes = [await bench.look() for _ in range(11)]
    assert sorted(outcomes) == ["done"] * 10 + ["error"]
    assert bench.condition(poison, "Stalled") == ("True", "InternalError")
    assert all(bench.condition(key, "Ready") for key in others)
    assert "a mistake" in caplog.text


async def test_a_look_without_end_is_ended(bench, monkeypatch):
    async def hang(*_: Any) -> float:
        await asyncio.sleep(60)
        return 1.0

    monkeypatch.setattr(workers_module, "reconcile_serving", hang)
    monkeypatch.setattr(workers_module, "DEADLINE_SECONDS", 0.05)
    bench.seed(serving_document())
    assert await bench.look() == "timeout"
    assert bench.queue.retrying == 1


async def test_the_same_trouble_is_logged_once(bench, caplog):
    bench.seed(serving_document())
    bench.api.fail_with, bench.api.fail_on = ApiUnavailable("no answer"), "RecServing"
    for _ in range(4):
        assert await bench.look() == "failed"
        bench.now += 20
    assert caplog.text.count("no answer") == 1


async def test_workers_end_when_the_queue_is_closed(bench):
    running = asyncio.create_task(bench.workers.run())
    bench.seed(serving_document())
    for _ in range(100):
        if bench.status(KEY):
            break
        await asyncio.sleep(0.01)
    bench.queue.close()
    await asyncio.wait_for(running, 2)
    assert bench.status(KEY)


class TestResync:
    def make(self, bench: Bench) -> Resync:
        return Resync(
            bench.api, bench.cache, bench.children, bench.queue, (None,), bench.metrics, lambda: 0.0
        )

    async def test_what_no_watch_has_told_is_found(self, bench):
        bench.api.seed(serving_document())
        resync = self.make(bench)
        assert not resync.synced
        await resync.once()
        assert resync.synced
        assert bench.cache.parents() == [KEY]
        assert bench.queue.depth == 1

    async def test_what_vanished_unseen_is_looked_at_and_forgotten(self, bench):
        bench.cache.put(bench.api.seed(serving_document()))
        await self.make(bench).once()
        bench.now += 1
        del bench.api.objects[KEY]
        await self.make(bench).once()
        assert await bench.look() == "gone"

    async def test_a_pod_that_vanished_unseen_holds_nothing_up(self, bench):
        parent = Parent("RecServing", "default", "shop", "u")
        meta = {"name": "a", "namespace": "default", "labels": selector_labels(parent)}
        bench.cache.put(
            {"kind": "Pod", "metadata": meta | {"uid": "p", "resourceVersion": "1"}, "spec": {}}
        )
        assert bench.cache.pods(KEY)
        await self.make(bench).once()
        assert not bench.cache.pods(KEY)

    async def test_lost_metadata_of_children_is_put_back(self, bench):
        bench.seed(serving_document())
        await bench.look()
        child = bench.api.objects["Deployment", "default", "shop-server"]
        child["metadata"]["labels"] = {}
        await self.make(bench).once()
        bench.now += 1
        await bench.look()
        after = bench.api.objects["Deployment", "default", "shop-server"]
        assert after["metadata"]["labels"]
