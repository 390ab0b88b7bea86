"""In which order a release is remembered, put in force and told, and what if one of them fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from millstream_api.release import Release
from millstream_operator.decide.observed import Replica
from millstream_operator.render.metadata import Parent
from millstream_operator.render.serving import render_release
from millstream_operator.shell.cache import Key
from millstream_operator.shell.errors import Forbidden
from millstream_operator.shell.store import NOT_READ
from millstream_operator.shell.workers import Workers
from tests.builders.operator import Server, make_store
from tests.builders.resources import make_counters, make_ref, serving_document
from tests.unit.operator.test_workers import Bench

KEY = Key("RecServing", "default", "shop")
RELEASE = ("ConfigMap", "default", "shop-release")


class FakePods:
    """Servers that follow the release ConfigMap."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.servers = [Server("a"), Server("b")]

    async def replicas(self, _pods: Any) -> tuple[Replica, ...]:
        if not self.servers:
            return ()
        found = self.api.objects.get(RELEASE)
        release = Release.parse(found["data"]["release.json"]) if found else Release()
        return tuple(server.seen(release) for server in self.servers)


class FakeStores:
    """A store whose contents are set, and that remembers what it is told."""

    def __init__(self) -> None:
        self.contents = NOT_READ
        self.told: list[Any] = []

    async def view(self, *_: Any) -> Any:
        return self.contents

    def announce(self, _key: Any, _place: Any, told: Any, _now: float) -> str:
        self.told.append(told)
        return told.digest

    def forget(self, key: Key) -> None:
        pass


class Shop:
    """One RecServing over an API server in memory."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.pods, self.stores = FakePods(bench.api), FakeStores()
        work = replace(bench.work, pods=self.pods, stores=self.stores)
        self.workers = bench.workers = Workers(work, bench.queue, lambda: bench.now)
        secret = {"AWS_ACCESS_KEY_ID": "bWU=", "AWS_SECRET_ACCESS_KEY": "aHVzaA=="}
        bench.api.seed(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "s3-credentials", "namespace": "default"},
                "data": secret,
            }
        )
        bench.seed(serving_document())

    async def look(self, times: int = 1) -> str:
        outcome = ""
        for _ in range(times):
            self.bench.queue.add(KEY)
            self.bench.now += 20
            outcome = await self.bench.look()
        return outcome

    @property
    def remembered(self) -> dict[str, Any]:
        return self.bench.status(KEY)

    @property
    def in_force(self) -> Release:
        return Release.parse(self.bench.api.objects[RELEASE]["data"]["release.json"])


@pytest.fixture
async def shop():
    async with aiohttp.ClientSession() as session:
        bench = Bench(session)
        found = Shop(bench)
        yield found
        await bench.stores.close()


async def serve(shop: Shop) -> None:
    """Version 1 is stable and version 2 in its first batch."""
    shop.stores.contents = make_store(1)
    await shop.look(3)
    assert shop.in_force.stable == make_ref(1)
    shop.stores.contents = make_store(2, 1)
    await shop.look(2)
    assert (shop.in_force.candidate, shop.in_force.advanced) == (make_ref(2), 1)


async def test_before_any_version_servers_are_told_that_there_is_none(shop):
    await shop.look()
    assert shop.in_force == Release()


async def test_a_release_is_remembered_and_then_put_in_force(shop):
    shop.stores.contents = make_store(1)
    await shop.look()
    writes = [(verb, kind) for verb, kind, name in shop.bench.api.writes()]
    remembered = writes.index(("apply status", "RecServing"))
    assert shop.bench.api.writes().index(("apply", "ConfigMap", "shop-release")) > remembered
    assert shop.remembered["release"]["epoch"] == shop.in_force.epoch == 1


async def test_what_is_not_remembered_is_not_put_in_force(shop):
    await serve(shop)
    before = shop.in_force
    shop.bench.api.fail_with, shop.bench.api.fail_on = Forbidden("no"), "RecServing"
    await shop.look(3)
    assert shop.in_force == before


async def test_but_a_bad_version_is_taken_back_all_the_same(shop):
    await serve(shop)
    for server in shop.pods.servers:
        server.tried = make_counters(nonfinite=1)
    shop.bench.api.fail_with, shop.bench.api.fail_on = Forbidden("no"), "RecServing"
    assert await shop.look() == "failed"
    assert shop.in_force.candidate is None
    assert shop.in_force.quarantined == (make_ref(2).digest,)
    epoch = shop.in_force.epoch
    await shop.look(3)
    assert shop.in_force.epoch == epoch, "once is enough"

    shop.bench.api.fail_with = None
    await shop.look(2)
    assert shop.remembered["release"]["epoch"] == epoch
    assert [entry["version"] for entry in shop.remembered["quarantined"]] == [2]
    assert "candidateVersion" not in shop.remembered


async def test_and_a_person_can_go_back_all_the_same(shop):
    await serve(shop)
    await shop.look(40)
    assert shop.in_force.stable == make_ref(2)
    body = dict(shop.bench.api.objects[KEY])
    body["metadata"] = body["metadata"] | {"annotations": {"millstream.dev/rollback-to": "1"}}
    shop.bench.cache.put(shop.bench.api.seed(body))
    shop.bench.api.fail_with, shop.bench.api.fail_on = Forbidden("no"), "RecServing"
    await shop.look(3)
    assert (shop.in_force.stable, shop.in_force.mode) == (make_ref(1), "Pinned")


async def test_a_promotion_that_cannot_be_remembered_waits(shop):
    await serve(shop)
    while shop.in_force.advanced < 10:
        await shop.look()
    shop.bench.api.fail_with, shop.bench.api.fail_on = Forbidden("no"), "RecServing"
    await shop.look(5)
    assert shop.in_force.stable == make_ref(1)
    shop.bench.api.fail_with = None
    await shop.look(3)
    assert shop.in_force.stable == make_ref(2)


async def test_a_release_of_an_earlier_object_of_the_name_is_not_gone_on_from(shop):
    foreign = render_release(
        Parent("RecServing", "default", "shop", "uid of the earlier one"),
        Release(epoch=99, stable=make_ref(7)),
    )
    shop.bench.cache.put(shop.bench.api.seed(foreign))
    await shop.look()
    assert shop.remembered["release"]["epoch"] == 0


async def test_a_release_that_cannot_be_read_is_written_anew(shop):
    await serve(shop)
    spoiled = dict(shop.bench.api.objects[RELEASE]) | {"data": {"release.json": "{"}}
    shop.pods.servers.clear()
    shop.bench.cache.put(shop.bench.api.seed(spoiled))
    await shop.look()
    assert shop.in_force.stable == make_ref(1)


async def test_the_store_is_told_only_what_is_remembered(shop):
    shop.stores.contents = make_store(1)
    await shop.look()
    shop.bench.api.fail_with, shop.bench.api.fail_on = Forbidden("no"), "RecServing"
    await shop.look(3)
    assert shop.stores.told == [], "the promotion could not be written"
    shop.bench.api.fail_with = None
    await shop.look(3)
    assert [told.target for told in shop.stores.told] == [make_ref(1)]
    assert shop.remembered["announced"] == shop.stores.told[0].digest


async def test_the_store_is_told_of_a_bad_first_version(shop):
    """There is no stable version yet, and the trainer must not go on from this one."""
    for server in shop.pods.servers:
        server.refuses = {make_ref(1): "NonFiniteRows"}
    shop.stores.contents = make_store(1)
    await shop.look(4)
    told = shop.stores.told[-1]
    assert (told.target, told.quarantined) == (None, (make_ref(1).digest,))


async def test_the_store_is_told_what_a_replica_that_starts_anew_fetches(shop):
    """R18: stable, candidate and rollback points."""
    await serve(shop)
    await shop.look(2)
    assert shop.stores.told[-1].retained == (make_ref(1), make_ref(2))


async def test_a_pause_touches_neither_children_nor_release_nor_store(shop):
    await serve(shop)
    body = dict(shop.bench.api.objects[KEY])
    body["metadata"] = body["metadata"] | {"annotations": {"millstream.dev/pause": "true"}}
    shop.bench.cache.put(shop.bench.api.seed(body))
    for server in shop.pods.servers:
        server.tried = make_counters(nonfinite=1)
    before, told = shop.in_force, len(shop.stores.told)
    shop.bench.api.calls.clear()
    await shop.look(3)
    assert shop.in_force == before
    assert len(shop.stores.told) == told
    assert {kind for _, kind, _ in shop.bench.api.writes()} <= {"RecServing", "Event"}
    assert shop.bench.condition(KEY, "Paused") == ("True", "PausedByAnnotation")
