"""What pods are, and what is made of their answers."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from millstream_api.release import Release
from millstream_operator.shell import pods as readers
from millstream_operator.shell.pods import PodReader, view_pod
from tests.builders.ports import free_port
from tests.builders.resources import make_progress, make_report


def make_pod(port: int = 8080, ip: str | None = "127.0.0.1", **status: Any) -> dict[str, Any]:
    container = {"name": "server", "ports": [{"name": "http", "containerPort": port}]}
    known = {"podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]}
    return {
        "kind": "Pod",
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"containers": [container]},
        "status": {key: value for key, value in (known | status).items() if value is not None},
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"containerStatuses": [{"name": "server", "restartCount": 2, "state": state}]}


def test_a_ready_pod():
    found = view_pod(make_pod())
    assert (found.ready, found.address, found.problem) == (True, "http://127.0.0.1:8080", "")


def test_an_address_of_version_6_is_bracketed():
    assert view_pod(make_pod(ip="fd00::1")).address == "http://[fd00::1]:8080"


def test_a_pod_without_address_cannot_be_asked():
    assert view_pod(make_pod(ip=None)).address is None


@pytest.mark.parametrize(
    ("meta", "status"),
    [({"deletionTimestamp": "now"}, {}), ({}, {"phase": "Failed"}), ({}, {"phase": "Succeeded"})],
)
def test_a_pod_that_ends_is_not_ready(meta: dict[str, Any], status: dict[str, Any]):
    pod = make_pod(**status)
    pod["metadata"] |= meta
    found = view_pod(pod)
    assert (found.ending, found.ready) == (True, False)


PROBLEMS = {
    "starting": (waiting("ContainerCreating"), ""),
    "crashing": (waiting("CrashLoopBackOff", "back-off 40s restarting"), "CrashLoopBackOff"),
    "no image": (waiting("ImagePullBackOff", "Back-off pulling"), "ImagePullBackOff"),
    "no secret": (
        waiting("CreateContainerConfigError", 'secret "s3" not found'),
        'CreateContainerConfigError: secret "s3" not found',
    ),
    "no node": (
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes",
                }
            ]
        },
        "Unschedulable: 0/1 nodes",
    ),
}


@pytest.mark.parametrize(("status", "problem"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_ails_it_in_words_that_do_not_tick(status: dict[str, Any], problem: str):
    assert view_pod(make_pod(**status)).problem == problem


@pytest.fixture
async def answers():
    """A server on loopback that answers with what is in the dictionary by path."""
    found: dict[str, Any] = {"port": free_port()}

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = found.get(request.path, web.Response(status=404))
        return answer() if callable(answer) else answer

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", found["port"]).start()
    yield found
    await runner.cleanup()


@pytest.fixture
async def reader():
    async with aiohttp.ClientSession() as session:
        yield PodReader(session)


async def test_a_report_is_read(reader, answers):
    report = make_report(Release(epoch=4))
    answers["/release"] = web.Response(body=report.canonical())
    [replica] = await reader.replicas([make_pod(answers["port"])])
    assert replica.report == report
    assert replica.ready


async def test_progress_is_read(reader, answers):
    answers["/progress"] = web.Response(body=make_progress().canonical())
    [worker] = await reader.workers([make_pod(answers["port"])])
    assert worker.progress == make_progress()


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=503),
        web.Response(body=b"not json"),
        web.Response(body=b'{"replica": 7}'),
        web.Response(body=b" " * (readers.LARGEST_REPORT + 10)),
    ],
    ids=["an error", "no JSON", "another document", "a flood"],
)
async def test_anything_else_is_unknown(reader, answers, answer):
    answers["/release"] = lambda: answer
    [replica] = await reader.replicas([make_pod(answers["port"])])
    assert replica.report is None


async def test_nobody_is_followed_elsewhere(reader, answers):
    answers["/release"] = web.Response(status=302, headers={"Location": "/elsewhere"})
    answers["/elsewhere"] = web.Response(body=make_report(Release()).canonical())
    [replica] = await reader.replicas([make_pod(answers["port"])])
    assert replica.report is None


async def test_nobody_there_is_unknown(reader):
    [replica] = await reader.replicas([make_pod(free_port())])
    assert replica.report is None


async def test_a_silent_pod_costs_one_time_limit_for_all(reader, monkeypatch):
    monkeypatch.setattr(readers, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        began = asyncio.get_running_loop().time()
        found = await reader.replicas([make_pod(port) for _ in range(10)])
        assert asyncio.get_running_loop().time() - began < 1.5
    assert all(replica.report is None for replica in found)


async def test_pods_that_end_are_left_out(reader):
    pod = make_pod(ip=None)
    pod["metadata"]["deletionTimestamp"] = "now"
    assert await reader.replicas([pod]) == ()
