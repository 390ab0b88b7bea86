"""`millstream replay` against whole servers: what one logged, another is asked."""

from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner

from millstream_api.settings import RequestLogSettings
from millstream_cli.main import millstream
from tests.builders.objects import MemoryObjects
from tests.builders.ports import free_port
from tests.builders.serving import Publisher, random_dense, random_rows


@pytest.fixture
async def logged(start, capfd):
    """The publisher of a server, and what that server logged of ten requests."""
    running = await start(request_log=RequestLogSettings(sample_ratio=1.0, per_second=1000))
    base = running.publisher.publish(random_rows(running.publisher, 20, 30))
    await running.in_force(stable=base)
    for user in range(10):
        await running.client.get(f"/recommend/{user}")
    running.leave.set()
    await running.task
    return running.publisher, capfd.readouterr().out


async def replay(running, lines, *words):
    command = ["replay", "-", "--url", str(running.client.base_url), *words]
    return await asyncio.to_thread(CliRunner().invoke, millstream, command, input=lines)


async def test_a_server_of_the_same_version_agrees_to_the_last_bit(start, logged):
    publisher, lines = logged
    running = await start(publisher)
    await running.in_force(stable=publisher.latest.ref())
    done = await replay(running, lines)
    assert done.exit_code == 0, done.output
    assert done.output == (
        "10 of 10 requests answered\n"
        "logged 0, answered 0: 10 requests, 100.0% of the items, first the same in 100.0%,"
        " scores apart by 0 (at most 0)\n"
    )


async def test_a_server_of_another_version_differs_and_says_by_how_much(start, logged):
    publisher, lines = logged
    other = publisher.publish(dense=random_dense(publisher.architecture, seed=99))
    running = await start(publisher)
    await running.in_force(stable=other)
    done = await replay(running, lines, "--json", "--limit", "4")
    document = json.loads(done.output)
    assert (document["answered"], document["refused"]) == (4, {})
    [row] = document["versions"]
    assert (row["logged"], row["answered"], row["requests"]) == (0, 1, 4)
    assert row["overlap"] < 1
    assert row["largestDifference"] >= row["meanDifference"] > 0


async def test_what_is_refused_is_counted_by_reason(start, logged):
    _, lines = logged
    running = await start(Publisher(MemoryObjects()))
    done = await replay(running, lines)
    assert done.output == "0 of 10 requests answered\n  refused: 10 × NoVersion\n"


def test_other_lines_are_passed_over_and_nothing_to_ask_is_said():
    lines = '{"level": "INFO"}\nnot json\n[1]\n'
    done = CliRunner().invoke(millstream, ["replay", "-", "--url", "http://x"], input=lines)
    assert (done.exit_code, "there is no logged request" in done.output) == (1, True)


def test_a_server_that_is_not_there_is_said():
    line = json.dumps(
        {"log": "request", "version": 1, "request": {}, "answer": {"ids": [1], "scores": [0.5]}}
    )
    url = f"http://127.0.0.1:{free_port()}"
    done = CliRunner().invoke(millstream, ["replay", "-", "--url", url], input=line)
    assert done.exit_code == 1
    assert f"{url} does not answer" in done.output
