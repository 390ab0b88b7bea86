"""A steady load over connections that stay open, for tests in which no request may fail.

Each caller has a connection of its own, asks, rests, and asks again, as the pooled connections of
an HTTP client do. It goes to a new connection where an answer says `connection: close`, and where
the server closed the old one while nothing was asked. Nothing is asked twice: whatever is not
answered with 200 in time has failed.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from millstream_api.names import HEADER_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

TIMEOUT_SECONDS = 5.0  # to connect, and again to answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; times are those of time.monotonic()."""

    sent: float
    received: float
    status: int  # 0: no answer
    version: int | None = None
    complaint: str = ""

    @property
    def seconds(self) -> float:
        return self.received - self.sent


def get(path: str) -> bytes:
    """A request as it is sent."""
    return f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """A request as it is sent."""
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


class Load:
    """Asks from a thread of its own for as long as the `with` lasts."""

    def __init__(
        self,
        host: str,
        port: int,
        requests: Sequence[bytes],
        *,
        rests: Sequence[tuple[int, float]],
        seed: int = 0,
    ) -> None:
        """Nothing is sent yet.

        Args:
            host: where to connect to.
            port: likewise.
            requests: sent one after the other, round and round.
            rests: so many callers, and the mean seconds that each rests between two requests.
            seed: of how long each single rest is.
        """
        self.answers: list[Answer] = []  # in the order in which they came
        self._address = (host, port)
        self._requests = requests
        self._next = 0
        self._rests = [mean for callers, mean in rests for _ in range(callers)]
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask_all()), name="load")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]

    def percentile(self, percent: float, since: float = 0.0, until: float = np.inf) -> float:
        """Seconds within which so many of the requests sent between two moments were answered."""
        seconds = [each.seconds for each in self.answers if since <= each.sent < until]
        return float(np.percentile(seconds, percent))

    async def _ask_all(self) -> None:
        async with asyncio.TaskGroup() as callers:
            for mean in self._rests:
                callers.create_task(self._ask_on(mean))

    async def _ask_on(self, mean: float) -> None:
        connection = None
        while not self._over.is_set():
            rest = self._random.uniform(0.0, 2 * mean)
            while rest > 0 and not self._over.is_set():
                await asyncio.sleep(min(rest, 0.2))
                rest -= 0.2
            request = self._requests[self._next % len(self._requests)]
            self._next += 1
            if connection is not None and connection[0].at_eof():
                connection[1].close()
                connection = None
            connection = await self._ask(request, connection)
        if connection is not None:
            connection[1].close()

    async def _ask(self, request: bytes, connection: Connection | None) -> Connection | None:
        """Ask once; returns the connection where it may be used again."""
        sent = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                if connection is None:
                    connection = await asyncio.open_connection(*self._address)
            reader, writer = connection
            async with asyncio.timeout(TIMEOUT_SECONDS):
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                first, *lines = head.splitlines()
                headers = dict(line.split(": ", 1) for line in lines if line)
                body = await reader.readexactly(int(headers["content-length"]))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.answers.append(Answer(sent, time.monotonic(), 0, complaint=repr(error)))
            if connection is not None:
                connection[1].close()
            return None
        status, version = int(first.split()[1]), headers.get(HEADER_VERSION)
        complaint = "" if status == 200 else f"{first} {body.decode(errors='replace')}"
        number = int(version) if version and version.isdigit() else None
        self.answers.append(Answer(sent, time.monotonic(), status, number, complaint))
        if headers.get("connection") == "close":
            writer.close()
            return None
        return connection


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
