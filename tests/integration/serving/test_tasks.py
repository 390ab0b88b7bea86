"""A model of conversions on its way through a whole server, beside one of clicks alone."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_api.manifest import CLICK_AND_CONVERSION
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, make_architecture, random_dense, random_rows


def attention(name):
    return {} if name == "DIN" else {"attention": ()}


@pytest.fixture(params=["DIN", "MLP"])
async def running(request, start):
    """The second lineage says of a conversion exactly what it says of a click."""
    objects, name = MemoryObjects(), request.param
    one = make_architecture(name=name, **attention(name))
    alone = Publisher(objects, lineage="alone", architecture=one)
    both = Publisher(objects, lineage="both", architecture=one.changed(tasks=CLICK_AND_CONVERSION))
    rows, dense = random_rows(alone, 20, 30), random_dense(one)
    twice = {
        f"head.2.{part}": np.repeat(dense[f"head.2.{part}"], 2, 0) for part in ("weight", "bias")
    }
    made = await start(alone)
    made.before = alone.publish(rows, dense=dense)
    made.after = both.publish(rows, dense=dense | twice)
    await made.in_force(stable=made.before)
    return made


async def scores(running):
    body = (await running.rank(user_id=3, items=list(range(1000, 1030)))).json()
    return {each["id"]: each["score"] for each in body["items"]}


async def test_users_get_the_chance_of_both_and_go_back(running):
    clicks = await scores(running)
    await running.in_force(stable=running.before, candidate=running.after, advanced=10)
    await running.state(running.after)
    both = await scores(running)
    assert both == pytest.approx({item: score**2 for item, score in clicks.items()}, rel=1e-5)
    assert list(both) == list(clicks)
    await running.in_force(stable=running.before, candidate=None, advanced=0)
    assert await scores(running) == clicks


async def test_both_are_compared_before_users_get_one(running):
    for user in range(20):
        await running.rank(user_id=user, items=list(range(1000, 1030)))
    await running.in_force(candidate=running.after, mode="Shadow", salt="rollout 1")
    shadow = (await running.reports(lambda report: report.shadow)).shadow
    assert (shadow.requests, shadow.nonfinite) == (20, 0)
    assert shadow.correlation > 0.99
    assert shadow.mean_shift < -1, "the chance of both is less than that of a click"
