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


@pytest.fixture
async def slow_pool(clock, pool):
    """Jobs have taken a second each."""

    def job(_):
        clock.now += 1

    for _ in range(200):
        await pool.submit(job)
    return pool


async def test_a_job_that_could_hardly_have_its_turn_in_time_is_turned_away_at_once(
    clock, slow_pool
):
    """Half a second for each of two threads, and it may be half as much again."""
    gate = threading.Event()
    held = [slow_pool.submit(lambda _: gate.wait(20)) for _ in range(2)]
    with pytest.raises(Busy):
        slow_pool.submit(lambda _: None, deadline=clock.now + 0.7)
    with pytest.raises(Busy):
        slow_pool.check_room(clock.now + 0.7)
    slow_pool.check_room(clock.now + 0.8)
    held.append(slow_pool.submit(lambda _: gate.wait(20), deadline=clock.now + 0.8))
    gate.set()
    await asyncio.gather(*held)


async def test_a_job_with_a_thread_to_itself_is_done_however_slow_others_were(clock, slow_pool):
    assert await slow_pool.submit(lambda _: "done", deadline=clock.now + 0.001) == "done"


async def test_a_job_that_was_not_done_says_nothing_of_how_long_jobs_take(clock, slow_pool):
    async def occupied(work):
        gate, both_at_work = threading.Event(), threading.Barrier(3, timeout=20)

        def hold(_):
            both_at_work.wait()
            gate.wait(20)

        held = [slow_pool.submit(hold) for _ in range(2)]
        both_at_work.wait()
        late = work()
        gate.set()
        await asyncio.gather(*held, *late, return_exceptions=True)
        return late

    def missed_its_turn():
        late = slow_pool.submit(lambda _: None, deadline=clock.now + 1.1)
        clock.now += 1.2
        return [late]

    def asked():
        with pytest.raises(Busy):
            slow_pool.check_room(clock.now + 0.75)
        return []

    (late,) = await occupied(missed_its_turn)
    assert isinstance(late.exception(), TooLate)
    await occupied(asked)


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
