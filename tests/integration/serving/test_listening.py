"""Lanes that listen beside each other, with an application that answers when it is told to."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

from devcluster.processes import wait_until
from millstream_serving.http.replies import Reply
from millstream_serving.http.server import HttpServer
from millstream_serving.ranking.lanes import lanes_of
from tests.builders.ports import free_port
from tests.builders.turns import submitted


class Roomy:
    """Turns nobody away."""

    is_draining = False

    def refuse(self, lane, request):
        del lane, request


class HeldUp(Roomy):
    """Answers once it may, with what another lane has done for it."""

    def __init__(self):
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.lanes = lanes_of(2, 8, time.monotonic)

    async def answer(self, lane, _):
        self.asked = lane
        self.loop.call_soon_threadsafe(self.is_asked.set)
        return await lane.loop.create_task(self._answer(lane))

    async def _answer(self, lane):
        may_answer = asyncio.wait_for(self.may_answer.wait(), 10)
        told = asyncio.run_coroutine_threadsafe(may_answer, self.loop)
        await asyncio.wrap_future(told)
        [other] = (each for each in self.lanes if each is not lane)
        try:
            done = [submitted(lane, lambda _: None) for _ in range(6)]
            assert len(other.turns) > 0
            async with asyncio.timeout(5):
                await asyncio.gather(*done)
        except (TimeoutError, RuntimeError):
            return Reply(500, b'"the other lane has ended"')
        return Reply(200, b"{}")


class Counting(Roomy):
    """Answers at once, and tells after how many answers its loop did something else."""

    def __init__(self):
        self.answered, self.seen_after = 0, []
        self.lanes = lanes_of(1, 8, time.monotonic)

    async def answer(self, lane, _):
        if not self.answered:
            lane.loop.call_soon(lambda: self.seen_after.append(self.answered))
        self.answered += 1
        return Reply(200, b"{}")


@asynccontextmanager
async def served(app):
    """Serves an application; gives the server and who connects to it, and ends by draining."""
    port = free_port()
    server = HttpServer(app, app.lanes, "127.0.0.1", port, time.time)
    serving = asyncio.create_task(server.serve())

    async def connect():
        return await asyncio.open_connection("127.0.0.1", port)

    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await connect()
                break
            except ConnectionError:
                await asyncio.sleep(0.01)
        writer.close()
        try:
            yield server, connect
        finally:
            server.stop()
            await serving


async def test_no_lane_ends_before_all_have_answered():
    """The others may hand over to it what came before the end."""
    app = HeldUp()
    async with served(app) as (server, connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await app.is_asked.wait()
        await server.drain(0)
        while True:  # until nobody listens any more
            try:
                _, late = await connect()
            except ConnectionError:
                break
            late.close()
            await asyncio.sleep(0.01)
        [idle] = (lane for lane in app.lanes if lane is not app.asked)
        ended = await asyncio.to_thread(wait_until, idle.loop.is_closed, 0.3)
        app.may_answer.set()
        assert not ended
        assert b" 200 " in await reader.readline()
        writer.close()


async def test_a_caller_that_asks_ahead_takes_turns_with_others():
    app = Counting()
    async with served(app) as (_, connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 500)
        writer.write_eof()
        assert (await reader.read()).count(b" 200 ") == 500
        writer.close()
    assert app.seen_after[0] < 3
