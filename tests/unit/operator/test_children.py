"""Children are applied when they have to be, and never taken from others."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_operator.render.metadata import Parent, child
from millstream_operator.shell.cache import Key, ObjectCache
from millstream_operator.shell.children import ChildWriter
from millstream_operator.shell.errors import ApiUnavailable, Conflict, Forbidden, Rejected
from tests.builders.fake_api import FakeApi

PARENT = Parent("RecServing", "ns", "shop", "uid-of-shop")
KEY = Key("RecServing", "ns", "shop")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def cache() -> ObjectCache:
    return ObjectCache()


@pytest.fixture
def writer(api: FakeApi, cache: ObjectCache) -> ChildWriter:
    return ChildWriter(api, cache)


def make_map(**data: str) -> dict[str, Any]:
    return child(PARENT, "v1", "ConfigMap", "shop-server", data=data)


def make_service(name: str = "shop") -> dict[str, Any]:
    return child(PARENT, "v1", "Service", name, spec={"ports": [{"port": 80}]})


async def test_the_same_is_applied_once(writer, api):
    for _ in range(5):
        assert await writer.apply(KEY, PARENT, [make_map(a="1")]) is None
    assert len(api.writes()) == 1


async def test_a_change_is_applied(writer, api):
    await writer.apply(KEY, PARENT, [make_map(a="1")])
    await writer.apply(KEY, PARENT, [make_map(a="2")])
    assert api.objects["ConfigMap", "ns", "shop-server"]["data"] == {"a": "2"}


async def test_somebody_elses_change_is_undone(writer, api, cache):
    await writer.apply(KEY, PARENT, [make_service()])
    changed = dict(api.objects["Service", "ns", "shop"])
    changed["spec"] = {"ports": [{"port": 99}]}
    cache.put(api.seed(changed))
    await writer.apply(KEY, PARENT, [make_service()])
    assert api.objects["Service", "ns", "shop"]["spec"] == {"ports": [{"port": 80}]}


async def test_a_status_that_moves_is_no_change(writer, api, cache):
    await writer.apply(KEY, PARENT, [make_service()])
    moved = dict(api.objects["Service", "ns", "shop"]) | {"status": {"replicas": 3}}
    cache.put(api.seed(moved))
    await writer.apply(KEY, PARENT, [make_service()])
    assert len(api.writes()) == 1


async def test_one_that_was_deleted_comes_back(writer, api, cache):
    await writer.apply(KEY, PARENT, [make_map()])
    del api.objects["ConfigMap", "ns", "shop-server"]
    cache.drop("ConfigMap", "ns", "shop-server")
    await writer.apply(KEY, PARENT, [make_map()])
    assert ("ConfigMap", "ns", "shop-server") in api.objects


async def test_after_a_resync_all_are_applied_again(writer, api):
    await writer.apply(KEY, PARENT, [make_map()])
    writer.forget(KEY)
    await writer.apply(KEY, PARENT, [make_map()])
    assert len(api.writes()) == 2


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        ([], "it was not made by millstream"),
        (
            [{"kind": "RecTraining", "name": "shop", "uid": "another", "controller": True}],
            "it belongs to RecTraining shop",
        ),
    ],
    ids=["nobody's", "another object's"],
)
async def test_an_object_of_somebody_else_is_left_alone(writer, api, owners, words):
    body = make_service()
    body["metadata"]["ownerReferences"] = owners
    body["spec"] = {"theirs": True}
    api.seed(body)
    problem = await writer.apply(KEY, PARENT, [make_service(), make_map()])
    assert problem is not None
    assert problem.lasting
    assert problem.finding.reason == "ChildConflict"
    assert words in problem.finding.message
    assert api.objects["Service", "ns", "shop"]["spec"] == {"theirs": True}
    assert ("ConfigMap", "ns", "shop-server") in api.objects, "others are applied all the same"


async def test_a_child_of_an_earlier_object_of_the_name_is_not_adopted(writer, api):
    body = make_service()
    body["metadata"]["ownerReferences"][0]["uid"] = "of the earlier one"
    api.seed(body)
    problem = await writer.apply(KEY, PARENT, [make_service()])
    assert problem is not None
    assert problem.finding.reason == "ChildConflict"


@pytest.mark.parametrize(
    ("error", "lasting"),
    [(Rejected("spec is invalid", 422), True), (Forbidden("exceeded quota", 403), False)],
)
async def test_a_refusal_is_told_in_the_servers_words(writer, api, error, lasting):
    api.fail_with, api.fail_on = error, "Service"
    problem = await writer.apply(KEY, PARENT, [make_service(), make_map()])
    assert problem is not None
    assert problem.lasting is lasting
    assert problem.finding.reason == "FailedCreate"
    assert error.message in problem.finding.message
    assert ("ConfigMap", "ns", "shop-server") in api.objects


@pytest.mark.parametrize("error", [ApiUnavailable("no answer"), Conflict("changed", 409)])
async def test_what_may_go_better_later_is_raised(writer, api, error):
    api.fail_with = error
    with pytest.raises(type(error)):
        await writer.apply(KEY, PARENT, [make_service()])


async def test_a_child_that_is_not_wanted_is_deleted_once(writer, api):
    budget = child(PARENT, "policy/v1", "PodDisruptionBudget", "shop-server", spec={})
    await writer.apply(KEY, PARENT, [budget])
    await writer.remove(PARENT, "PodDisruptionBudget", "shop-server")
    await writer.remove(PARENT, "PodDisruptionBudget", "shop-server")
    assert [call[0] for call in api.writes()] == ["apply", "delete"]


async def test_somebody_elses_is_not_deleted(writer, api, cache):
    budget = child(
        Parent("RecServing", "ns", "shop", "another"),
        "policy/v1",
        "PodDisruptionBudget",
        "shop-server",
        spec={},
    )
    cache.put(api.seed(budget))
    await writer.remove(PARENT, "PodDisruptionBudget", "shop-server")
    assert api.writes() == []
