"""A release in a ConfigMap, followed by list and watch with the pod's own account.

    list ──► resourceVersion ──► watch ──► event ──► event … ──► closed by the server ──┐
      ▲                            ▲                                                   │
      └── 410 Gone, or an error    └───────────────── from the last version seen ◄─────┘

Only one field of one object is read, so this speaks JSON over HTTP and needs no client library.
Every call has a time-out: the server closes a watch after WATCH_SECONDS, and a connection that is
silent for longer than that is dead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import orjson

from millstream_api.names import RELEASE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_SECONDS: Final = 30
SILENCE_SECONDS: Final = 5  # beyond that, before a connection counts as dead
CONNECT_SECONDS: Final = 3.0
ANSWER_SECONDS: Final = 10.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class ApiServer:
    """How to reach the API server; the token is read anew for every call, for it expires."""

    url: str
    token_file: Path | None = None
    ca_file: Path | None = None


class NotFollowed(Exception):  # noqa: N818 - named for what is the case
    """The API server gave an answer that cannot be followed."""


def in_cluster() -> ApiServer:
    """The API server as a pod finds it.

    Raises:
        ValueError: this process does not run in a pod.
    """
    host, port = (
        os.environ.get("KUBERNETES_SERVICE_HOST"),
        os.environ.get("KUBERNETES_SERVICE_PORT"),
    )
    if not host or not port:
        raise ValueError(
            "a release at kube: needs the pod's environment (KUBERNETES_SERVICE_HOST is not set): "
            "run in a pod, or follow file:<path>"
        )
    bracketed = f"[{host}]" if ":" in host else host
    return ApiServer(f"https://{bracketed}:{port}", ACCOUNT / "token", ACCOUNT / "ca.crt")


class KubeRelease:
    """One key of one ConfigMap."""

    def __init__(self, server: ApiServer, namespace: str, name: str) -> None:
        """Nothing is sent yet."""
        self._server = server
        self._path = f"/api/v1/namespaces/{namespace}/configmaps"
        self._name = name

    async def follow(self, deliver: Callable[[bytes], None]) -> None:
        """See Follower."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async with self._client() as client:
                    version = await self._list(client, deliver)
                    pause = FIRST_PAUSE_SECONDS
                    while True:
                        version = await self._watch(client, version, deliver)
                        await asyncio.sleep(FIRST_PAUSE_SECONDS)
            except (httpx.HTTPError, NotFollowed, OSError, ValueError, LookupError, TypeError) as e:
                log.warning("the release is not being followed, next try in %.1f s: %r", pause, e)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _client(self) -> httpx.AsyncClient:
        verify: ssl.SSLContext | bool = True
        if self._server.ca_file is not None:
            verify = ssl.create_default_context(cafile=str(self._server.ca_file))
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        return httpx.AsyncClient(
            base_url=self._server.url, timeout=timeout, verify=verify, trust_env=False
        )

    def _headers(self) -> dict[str, str]:
        if self._server.token_file is None:
            return {}
        return {"authorization": f"Bearer {self._server.token_file.read_text().strip()}"}

    async def _list(self, client: httpx.AsyncClient, deliver: Callable[[bytes], None]) -> str:
        answer = await client.get(self._path, params=self._only_mine(), headers=self._headers())
        if answer.status_code != httpx.codes.OK:
            raise NotFollowed(f"listing answers {answer.status_code}: {answer.text[:200]}")
        listed = orjson.loads(answer.content)
        for config_map in listed["items"]:
            _hand_over(config_map, deliver)
        return str(listed["metadata"]["resourceVersion"])

    async def _watch(
        self, client: httpx.AsyncClient, version: str, deliver: Callable[[bytes], None]
    ) -> str:
        """Follow until the server ends the watch; returns the version to go on from."""
        params = self._only_mine() | {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = httpx.Timeout(
            ANSWER_SECONDS, connect=CONNECT_SECONDS, read=WATCH_SECONDS + SILENCE_SECONDS
        )
        async with client.stream(
            "GET", self._path, params=params, headers=self._headers(), timeout=timeout
        ) as answer:
            if answer.status_code != httpx.codes.OK:
                raise NotFollowed(f"watching answers {answer.status_code}")
            async for line in answer.aiter_lines():
                event = orjson.loads(line)
                if event["type"] == "ERROR":
                    # 410 Gone among them: the history since `version` is no longer kept.
                    raise NotFollowed(f"the watch ended: {event['object'].get('message')}")
                version = str(event["object"]["metadata"]["resourceVersion"])
                if event["type"] in {"ADDED", "MODIFIED"}:
                    _hand_over(event["object"], deliver)
        return version

    def _only_mine(self) -> dict[str, str]:
        return {"fieldSelector": f"metadata.name={self._name}"}


def _hand_over(config_map: dict[str, Any], deliver: Callable[[bytes], None]) -> None:
    document = (config_map.get("data") or {}).get(RELEASE_KEY)
    if document is None:
        log.warning("the release ConfigMap has no key %s yet", RELEASE_KEY)
    else:
        deliver(document.encode())
