"""The queue: once each, never twice at a time, patient with failures."""

from __future__ import annotations

import asyncio

import pytest

from millstream_operator.shell.queue import (
    FIRST_PAUSE_SECONDS,
    LEAST_INTERVAL_SECONDS,
    LONGEST_PAUSE_SECONDS,
    KeyedQueue,
    QueueClosed,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> KeyedQueue[str]:
    return KeyedQueue(clock, lambda: 1.0)


async def taken(queue: KeyedQueue[str]) -> str | None:
    """What is given out now, if anything is."""
    try:
        return await asyncio.wait_for(queue.get(), 0.01)
    except TimeoutError:
        return None


async def test_a_key_added_often_is_given_out_once(queue):
    for _ in range(100):
        queue.add("a")
    assert await taken(queue) == "a"
    assert await taken(queue) is None


async def test_keys_are_given_out_in_the_order_in_which_they_came(queue):
    for key in "cab":
        queue.add(key)
    queue.add("c")
    assert [await taken(queue) for _ in range(3)] == ["c", "a", "b"]


async def test_a_key_is_never_worked_on_twice_at_a_time(queue, clock):
    queue.add("a")
    await taken(queue)
    clock.now += 1
    queue.add("a")
    assert await taken(queue) is None
    queue.done("a", None)
    assert await taken(queue) == "a"


async def test_a_key_due_while_being_worked_on_waits_for_its_end(queue, clock):
    queue.add_after("a", 5)
    queue.add("a")
    assert await taken(queue) == "a"
    queue.add_after("a", 1)
    clock.now += 2
    assert await taken(queue) is None
    queue.done("a", None)
    assert await taken(queue) == "a"


async def test_a_key_is_looked_at_again_after_its_time(queue, clock):
    queue.add("a")
    await taken(queue)
    queue.done("a", 3.0)
    clock.now += 2.9
    assert await taken(queue) is None
    clock.now += 0.2
    assert await taken(queue) == "a"


async def test_the_earlier_of_two_times_holds(queue, clock):
    queue.add_after("a", 10)
    queue.add_after("a", 2)
    queue.add_after("a", 20)
    clock.now += 2.1
    assert await taken(queue) == "a"
    queue.done("a", None)
    clock.now += 30
    assert await taken(queue) is None, "the other times are forgotten"


async def test_an_event_comes_before_a_time(queue, clock):
    queue.add_after("a", 10)
    queue.add("a")
    assert await taken(queue) == "a"
    queue.done("a", None)
    clock.now += 11
    assert await taken(queue) is None


async def test_a_storm_of_events_gives_a_handful_of_looks_a_second(queue, clock):
    looks = 0
    for _ in range(200):
        queue.add("a")
        if await taken(queue) == "a":
            looks += 1
            queue.done("a", None)
        clock.now += 1 / 200
    assert looks <= 1 / LEAST_INTERVAL_SECONDS + 1


async def test_failures_double_the_pause_up_to_a_limit(queue, clock):
    pauses = []
    for _ in range(12):
        queue.add("a") if not pauses else None
        assert await taken(queue) == "a"
        pauses.append(queue.retry("a"))
        assert await taken(queue) is None
        clock.now += pauses[-1]
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    assert queue.retrying == 1


async def test_success_ends_the_series_of_failures(queue, clock):
    queue.add("a")
    await taken(queue)
    queue.retry("a")
    clock.now += 1
    await taken(queue)
    queue.done("a", None)
    assert queue.retrying == 0
    clock.now += 1
    queue.add("a")
    await taken(queue)
    assert queue.retry("a") == FIRST_PAUSE_SECONDS


async def test_an_event_during_a_failing_look_waits_for_the_pause(queue, clock):
    queue.add("a")
    await taken(queue)
    queue.add("a")
    queue.retry("a")
    assert await taken(queue) is None
    clock.now += FIRST_PAUSE_SECONDS
    assert await taken(queue) == "a"


async def test_one_failing_key_does_not_hold_up_others(queue):
    queue.add("a")
    await taken(queue)
    queue.retry("a")
    queue.add("b")
    assert await taken(queue) == "b"


async def test_a_forgotten_key_is_not_looked_at_again(queue, clock):
    queue.add("a")
    await taken(queue)
    queue.add_after("a", 1)
    queue.forget("a")
    clock.now += 5
    assert await taken(queue) is None
    queue.add("a")
    assert await taken(queue) == "a"


async def test_waiting_workers_are_woken_by_the_clock_itself():
    loop = asyncio.get_running_loop()
    queue: KeyedQueue[str] = KeyedQueue(loop.time, lambda: 0.0)
    queue.add_after("a", 0.05)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_a_closed_queue_ends_those_who_wait(queue):
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.close()
    with pytest.raises(QueueClosed):
        await waiting
    queue.add("a")
    with pytest.raises(QueueClosed):
        await queue.get()


async def test_its_figures(queue, clock):
    queue.add("a")
    clock.now += 2
    queue.add("b")
    assert (queue.depth, queue.oldest_seconds) == (2, 2.0)
    await taken(queue)
    assert (queue.depth, queue.oldest_seconds) == (1, 0.0)
