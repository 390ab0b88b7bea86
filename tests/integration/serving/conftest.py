"""A whole server in this process: real HTTP, real threads, a release file and a store in memory."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from millstream_api.release import Release
from millstream_api.reports import ReplicaReport
from millstream_api.settings import ServerSettings, StoreSettings
from millstream_serving.engine.warmup import warm_up
from millstream_serving.main import serve
from millstream_serving.releases.files import FileRelease
from tests.builders.objects import MemoryObjects
from tests.builders.ports import free_port
from tests.builders.serving import Publisher, random_rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path


@dataclass
class Running:
    """One server and everything around it that a test may turn."""

    publisher: Publisher
    release_file: Path
    client: httpx.AsyncClient
    leave: asyncio.Event
    task: asyncio.Task[None]
    epoch: int = 0
    last: dict[str, Any] = field(default_factory=dict)

    def release(self, **fields: Any) -> int:
        """Put the next release in the file; fields that are not given stay. Returns its epoch."""
        self.epoch += 1
        self.last |= fields
        document = Release(**{"salt": "s", **self.last, "epoch": self.epoch}).canonical()
        aside = self.release_file.with_suffix(".new")
        aside.write_bytes(document)
        aside.rename(self.release_file)
        return self.epoch

    async def in_force(self, **fields: Any) -> ReplicaReport:
        """Release and wait until the replica reports its epoch."""
        epoch = self.release(**fields)
        return await self.reports(lambda report: report.epoch == epoch)

    async def report(self) -> ReplicaReport:
        return ReplicaReport.parse((await self.client.get("/release")).content)

    async def reports(self, condition: Callable[[ReplicaReport], Any]) -> ReplicaReport:
        """The first report that fulfils a condition."""
        report: ReplicaReport | None = None
        try:
            async with asyncio.timeout(30):
                while True:
                    report = await self.report()
                    if condition(report):
                        return report
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"no such report came; the last one is {report}") from None

    async def until(self, condition: Callable[[], Awaitable[Any]]) -> Any:
        """The first true value of a condition."""
        async with asyncio.timeout(30):
            while not (value := await condition()):  # noqa: ASYNC110 - any condition
                await asyncio.sleep(0.01)
        return value

    async def rank(self, **query: Any) -> httpx.Response:
        return await self.client.post("/v1/rank", json=query)

    async def state(self, ref: Any) -> Any:
        return await self.reports(
            lambda report: any(v.ref == ref and v.state != "Loading" for v in report.versions)
        )


@pytest.fixture(scope="session", autouse=True)
def kernels() -> None:
    warm_up()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Running]]]:
    """Start servers with settings of their own; all are drained at the end."""
    started: list[Running] = []

    async def begin(
        publisher: Publisher | None = None, *, linger: float = 0.05, **settings: Any
    ) -> Running:
        publisher = publisher or Publisher(MemoryObjects())
        path = tmp_path / f"release-{len(started)}.json"
        patient = {"latency_budget_millis": 30_000}  # as the client is, however busy the machine
        given = ServerSettings(
            model="shop",
            store=StoreSettings(bucket="b"),
            release=f"file:{path}",
            **patient | settings,
        )
        port, leave = free_port(), asyncio.Event()
        task = asyncio.create_task(
            serve(given, publisher.store, FileRelease(path), "127.0.0.1", port, leave, linger)
        )
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
        running = Running(publisher, path, client, leave, task)
        started.append(running)

        async def is_alive() -> bool:
            assert not task.done(), task.exception()
            with contextlib.suppress(httpx.ConnectError):
                return (await client.get("/healthz")).status_code == 200
            return False

        await running.until(is_alive)
        return running

    yield begin
    for running in started:
        running.leave.set()
        await running.client.aclose()
        await running.task


@pytest.fixture
async def running(start: Callable[..., Awaitable[Running]]) -> Running:
    """A server with a base of 20 users and 30 items in force."""
    made = await start()
    base = made.publisher.publish(random_rows(made.publisher, 20, 30))
    await made.in_force(stable=base)
    return made
