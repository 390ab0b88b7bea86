"""The scoring threads and their bounded queue."""

from __future__ import annotations

import asyncio
import threading

import pytest

from millstream_serving.ranking.pool import Busy, ScoringPool, TooLate


class Clock:
    """Stands still until it is set."""

    now = 100.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def pool(clock):
    made = ScoringPool(threads=2, waiting=3, stopwatch=lambda: clock.now)
    yield made
    made.stop()


async def test_a_result_comes_back_to_whoever_asked(pool):
    assert await asyncio.gather(*(pool.submit(lambda _, n=n: n * n) for n in range(3))) == [0, 1, 4]


async def test_an_error_comes_back_to_whoever_asked(pool):
    def job(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool.submit(job)
    assert await pool.submit(lambda _: "alive") == "alive"


async def test_a_job_beyond_the_bound_is_turned_away_at_once_and_room_comes_back(pool):
    gate = threading.Event()
    held = [pool.submit(lambda _: gate.wait(20)) for _ in range(3)]
    with pytest.raises(Busy):
        pool.submit(lambda _: None)
    gate.set()
    await asyncio.gather(*held)
    assert await pool.submit(lambda _: "room") == "room"


async def test_a_job_whose_turn_comes_after_its_deadline_is_not_done(clock, pool):
    gate, done = threading.Event(), []
    held = [pool.submit(lambda _: gate.wait(20)) for _ in range(2)]
    late = pool.submit(done.append, deadline=clock.now + 1)
    clock.now += 2
    gate.set()
    with pytest.raises(TooLate):
        await late
    assert not done
    await asyncio.gather(*held)
    assert await pool.submit(lambda _: "in time", deadline=clock.now + 1) == "in time"


async def test_a_job_whose_asker_has_gone_is_finished_all_the_same(pool, caplog):
    gate = threading.Event()
    gone = pool.submit(lambda _: gate.wait(20))
    gone.cancel()
    gate.set()
    assert await pool.submit(lambda _: "room") == "room"
    assert caplog.text == ""


async def test_each_thread_has_a_scratch_pad_of_its_own(pool):
    both_in = threading.Barrier(2, timeout=20)

    def job(pad):
        both_in.wait()
        return pad

    first, second = await asyncio.gather(pool.submit(job), pool.submit(job))
    assert first is not second
