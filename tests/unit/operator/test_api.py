"""The API client against a server that answers, refuses, babbles and is silent."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from millstream_operator.shell import api as apis
from millstream_operator.shell.access import Access, AccessCache
from millstream_operator.shell.api import ApiClient
from millstream_operator.shell.errors import (
    ApiUnavailable,
    Conflict,
    Forbidden,
    NotFound,
    NotLeading,
    Rejected,
)
from millstream_operator.shell.kinds import BY_KIND
from tests.builders.ports import free_port

CONFIG_MAP = BY_KIND["ConfigMap"]
PODS = BY_KIND["Pod"]


class Server:
    """Answers each request with the next of `answers`; the last one stays."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, Any]] = [(200, {})]

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append(
            (
                request.method,
                request.path,
                dict(request.query),
                json.loads(body) if body else dict(request.headers),
            )
        )
        status, answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, str):
            return web.Response(status=status, text=answer)
        return web.json_response(answer, status=status)


@pytest.fixture
async def server():
    found = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def make_access(url: str, token: str = "t") -> Access:  # noqa: S107 - a pretended one
    return Access(url, None, None, None, verifies=False, authorization=f"Bearer {token}")


@pytest.fixture
async def client(server):
    tokens = iter(f"t{number}" for number in range(1, 100))
    cache = AccessCache(lambda: make_access(server.url, next(tokens)), lambda: 0.0)
    async with ApiClient(cache, "agent/1") as found:
        yield found


async def test_apply_forces_our_fields_and_nothing_else(client, server):
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "ns"},
        "data": {},
    }
    await client.apply(CONFIG_MAP, body)
    [(method, path, query, sent)] = server.requests
    assert (method, path) == ("PATCH", "/api/v1/namespaces/ns/configmaps/a")
    assert query == {"fieldManager": "millstream-operator", "force": "true"}
    assert sent == body


async def test_a_fence_stops_writes_and_not_reads(client, server):
    def closed() -> None:
        raise NotLeading("another one leads")

    client.fence = closed
    body = {"kind": "ConfigMap", "metadata": {"name": "a", "namespace": "ns"}}
    with pytest.raises(NotLeading):
        await client.apply(CONFIG_MAP, body)
    with pytest.raises(NotLeading):
        await client.delete(CONFIG_MAP, "ns", "a", "uid")
    assert server.requests == []
    await client.get(CONFIG_MAP, "ns", "a")
    assert len(server.requests) == 1


async def test_a_list_is_read_page_by_page(client, server):
    server.answers = [
        (200, {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        (200, {"metadata": {}, "items": [{"metadata": {"name": "b"}}]}),
    ]
    found = [body async for body in client.list(PODS, None, "x=y")]
    assert [body["metadata"]["name"] for body in found] == ["a", "b"]
    assert all((body["kind"], body["apiVersion"]) == ("Pod", "v1") for body in found)
    assert server.requests[0][2] == {"limit": "500", "labelSelector": "x=y"}
    assert server.requests[1][2]["continue"] == "next"


async def test_only_the_very_object_is_deleted(client, server):
    await client.delete(CONFIG_MAP, "ns", "a", "uid-1")
    assert server.requests[0][3]["preconditions"] == {"uid": "uid-1"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Forbidden),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (400, Rejected),
        (422, Rejected),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
    ],
)
async def test_an_error_is_of_a_kind_and_says_what_the_server_said(client, server, status, kind):
    server.answers = [(status, {"message": "because"})]
    with pytest.raises(kind, match="because") as caught:
        await client.get(CONFIG_MAP, "ns", "a")
    assert caught.value.status == status


async def test_a_page_of_a_proxy_is_no_answer(client, server):
    server.answers = [(502, "<html>bad gateway</html>")]
    with pytest.raises(ApiUnavailable, match="bad gateway"):
        await client.get(CONFIG_MAP, "ns", "a")


async def test_a_refused_token_is_read_anew(client, server):
    server.answers = [(401, {"message": "expired"}), (200, {})]
    with pytest.raises(Forbidden):
        await client.get(CONFIG_MAP, "ns", "a")
    await client.get(CONFIG_MAP, "ns", "a")
    headers = [request[3]["Authorization"] for request in server.requests]
    assert headers == ["Bearer t1", "Bearer t2"]


async def test_nobody_there_is_unavailable():
    port = free_port()
    cache = AccessCache(lambda: make_access(f"http://127.0.0.1:{port}"), lambda: 0.0)
    async with ApiClient(cache, "agent/1") as client:
        with pytest.raises(ApiUnavailable):
            await client.get(CONFIG_MAP, "ns", "a")


async def test_a_silent_server_is_unavailable_in_time(monkeypatch):
    monkeypatch.setattr(apis, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        cache = AccessCache(lambda: make_access(f"http://127.0.0.1:{port}"), lambda: 0.0)
        async with ApiClient(cache, "agent/1") as client:
            async with asyncio.timeout(5):
                with pytest.raises(ApiUnavailable, match="no answer"):
                    await client.get(CONFIG_MAP, "ns", "a")


def test_access_is_read_again_after_a_minute_and_the_last_kept_where_that_fails(caplog):
    now = 0.0
    found = [make_access("http://a", "1"), make_access("http://a", "2")]

    def load() -> Access:
        if not found:
            raise OSError("the token is gone")
        return found.pop(0)

    cache = AccessCache(load, lambda: now)
    assert cache.current().authorization == "Bearer 1"
    now = 61.0
    assert cache.current().authorization == "Bearer 2"
    now = 122.0
    assert cache.current().authorization == "Bearer 2"
    assert "keeping the last" in caplog.text
