"""The log of sampled requests of a whole server."""

from __future__ import annotations

import json

from millstream_api.settings import RequestLogSettings
from tests.builders.serving import random_rows


async def lines_after(running, capfd):
    """All lines; a server that leaves writes what it has."""
    running.leave.set()
    await running.task
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


async def begin(start, **fields):
    running = await start(request_log=RequestLogSettings(**{"per_second": 1000} | fields))
    base = running.publisher.publish(random_rows(running.publisher, 20, 30))
    await running.in_force(stable=base)
    return running


async def test_what_a_line_asks_gets_the_answer_it_has(start, capfd):
    running = await begin(start, sample_ratio=1.0)
    for path in ("/recommend/3?k=4", "/recommend/unknown", "/recommend/3?k=4"):
        assert (await running.client.get(path)).status_code == 200
    await running.rank(user_id=5, items=[1001, 1007, "x"], history=[1002], k=2)
    assert (await running.rank(items=[])).status_code == 400
    asked_again = await start(running.publisher)
    await asked_again.in_force(stable=running.publisher.latest.ref())
    lines = await lines_after(running, capfd)
    assert [line["request"]["k"] for line in lines] == [4, 10, 4, 2], "none that was refused"
    for line in lines:
        body = (await asked_again.rank(**line["request"])).json()
        assert [item["id"] for item in body["items"]] == line["answer"]["ids"]
        assert [item["score"] for item in body["items"]] == line["answer"]["scores"]


async def test_without_being_asked_nothing_is_logged(start, capfd):
    running = await start()
    base = running.publisher.publish(random_rows(running.publisher, 20, 30))
    await running.in_force(stable=base)
    await running.rank(items=[1001])
    assert await lines_after(running, capfd) == []


async def test_a_rate_bounds_the_lines(start, capfd):
    running = await begin(start, sample_ratio=1.0, per_second=2)
    for _ in range(50):
        await running.rank(items=[1001])
    assert 2 <= len(await lines_after(running, capfd)) < 25
