"""How long users wait: requests come when they come, whether the last one is answered or not.

Arrivals are a Poisson process. Waiting counts from the moment a request was due, so a server that
stalls is charged for all who came meanwhile (coordinated omission: Tene, How NOT to measure
latency, 2013).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

import aiohttp
import numpy as np

if TYPE_CHECKING:
    from bench.serving.workload import Request

LONGEST_SECONDS: Final = 10.0
CONNECTIONS: Final = 256


@dataclass(frozen=True)
class Waits:
    """Milliseconds from due to answered."""

    p50: float
    p99: float
    failed: int


def visit(url: str, requests: list[Request], *, per_second: float, seconds: float) -> Waits:
    """Send requests at this mean rate for so long."""
    return asyncio.run(_visit(f"{url}/v1/rank", requests, per_second, seconds))


async def _visit(url: str, requests: list[Request], per_second: float, seconds: float) -> Waits:
    draw = np.random.default_rng(5)
    gaps = draw.exponential(1 / per_second, int(per_second * seconds))
    bodies = [each.body() for each in requests]
    waits: list[float] = []
    failed = 0
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=LONGEST_SECONDS),
        headers=headers,
    ) as session:

        async def send(number: int, due: float) -> None:
            nonlocal failed
            try:
                async with session.post(url, data=bodies[number % len(bodies)]) as answer:
                    await answer.read()
                    is_answered = answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                is_answered = False
            if is_answered:
                waits.append(perf_counter() - due)
            else:
                failed += 1

        began = perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number, due in enumerate((began + np.cumsum(gaps)).tolist()):
                if (early := due - perf_counter()) > 0:
                    await asyncio.sleep(early)
                tasks.create_task(send(number, due))
    p50, p99 = np.percentile(waits, [50, 99]) * 1e3
    return Waits(p50=float(p50), p99=float(p99), failed=failed)
