"""A context on its way through a whole server: from HTTP to the score."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from millstream_core.features import ContextFeatures
from tests.builders.features import context_inputs, make_features
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, make_architecture, random_rows

FEATURES = make_features()
GIVEN = {"device": "web", "hour": 7, "price": 12.5}


@pytest.fixture
async def running(start):
    """A server whose stable version reads no context, beside a base that does."""
    objects = MemoryObjects()
    plain = Publisher(objects, lineage="plain")
    architecture = make_architecture(context=context_inputs(FEATURES))
    reading = Publisher(objects, lineage="reading", architecture=architecture, features=FEATURES)
    rows = random_rows(reading, 20, 30)
    keys = ContextFeatures(FEATURES).encode([GIVEN]).keys[0].tolist()
    rows["context"] = {key: np.full(4, 0.5, np.float32) for key in keys}
    made = await start(plain)
    made.before = plain.publish(random_rows(plain, 20, 30))
    made.after = reading.publish(rows)
    await made.in_force(stable=made.before)
    return made


async def scores(running, **query):
    body = (await running.rank(user_id=3, items=[1001, 1002], **query)).json()
    return [each["score"] for each in body["items"]], body.get("ignored")


async def test_a_base_brings_its_own_features(running):
    """R30: what a context means follows from the version that answers, with each version."""
    plain, ignored = await scores(running, context=GIVEN)
    assert (plain, ignored) == ((await scores(running))[0], ["device", "hour", "price"])
    await running.in_force(stable=running.before, candidate=running.after, advanced=10)
    await running.state(running.after)
    found, ignored = await scores(running, context=GIVEN)
    assert ignored is None
    assert found != (await scores(running))[0]
    await running.in_force(stable=running.before, candidate=None, advanced=0)
    assert (await scores(running, context=GIVEN))[0] == plain, "rolled back, nobody is turned away"


async def test_a_mistyped_name_is_told_in_the_answer(running):
    await running.in_force(stable=running.after, candidate=None, advanced=0)
    await running.state(running.after)
    assert (await scores(running, context=GIVEN | {"hourr": 7}))[1] == ["hourr"]
    text = orjson.dumps(GIVEN | {"hourr": 7}).decode()
    answer = await running.client.get("/recommend/3", params={"context": text})
    assert answer.json()["ignored"] == ["hourr"]


async def test_a_hostile_context_gets_a_reason(running):
    answer = await running.rank(items=[1001], context={"device": True})
    assert answer.status_code == 400
    assert answer.json()["error"]["reason"] == "BadContext"
