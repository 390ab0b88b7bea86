"""Lanes: turns, deadlines and the bound, and when another lane takes a job."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from millstream_serving.eager import begin
from millstream_serving.ranking.lanes import Busy, TooLate, lanes_for, lanes_of
from tests.builders.turns import submitted

WAITING = 3


class Clock:
    """Stands still until it is set."""

    now = 100.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lanes(clock):
    """Two, each on a thread of its own."""
    made = lanes_of(2, WAITING, lambda: clock.now)
    threads = [threading.Thread(target=lane.loop.run_forever) for lane in made]
    for thread in threads:
        thread.start()
    yield made
    for lane, thread in zip(made, threads, strict=True):
        lane.loop.call_soon_threadsafe(lane.loop.stop)
        thread.join(20)
        lane.loop.close()


@pytest.fixture
def lane(clock):
    """One alone."""
    (made,) = lanes_of(1, WAITING, lambda: clock.now)
    yield made
    made.loop.close()


def on(lane, work):
    """Run this coroutine function on the lane's thread, and wait for what it returns."""
    return asyncio.run_coroutine_threadsafe(work(), lane.loop).result(20)


def alone(lane, work):
    return lane.loop.run_until_complete(asyncio.wait_for(work(), 20))


def test_results_come_back_in_turn(lane):
    done = []

    async def ask():
        jobs = [submitted(lane, lambda _, n=n: done.append(n) or n * n) for n in range(3)]
        return await asyncio.gather(*jobs)

    assert alone(lane, ask) == [0, 1, 4]
    assert done == [0, 1, 2]


def test_an_error_comes_back_to_whoever_asked(lane):
    async def ask():
        with pytest.raises(ZeroDivisionError):
            await submitted(lane, lambda _: 1 / 0)
        return await submitted(lane, lambda _: "alive")

    assert alone(lane, ask) == "alive"


def test_a_job_beyond_the_bound_is_turned_away_at_once_and_room_comes_back(lane):
    async def ask():
        held = [submitted(lane, lambda _: None) for _ in range(WAITING)]
        assert not lane.has_room(float("inf"))
        with pytest.raises(Busy):
            submitted(lane, lambda _: None)
        await asyncio.gather(*held)
        return await submitted(lane, lambda _: "room")

    assert alone(lane, ask) == "room"


def test_a_job_whose_turn_comes_after_its_deadline_is_not_done(lane, clock):
    done = []

    def slow(_):
        clock.now += 2

    async def ask():
        held = submitted(lane, slow)
        late = submitted(lane, done.append, deadline=clock.now + 1)
        await held
        with pytest.raises(TooLate):
            await late
        return await submitted(lane, lambda _: "in time", deadline=clock.now + 1)

    assert alone(lane, ask) == "in time"
    assert not done


@pytest.fixture
def slow_lane(lane, clock):
    """Jobs have taken a second each."""

    def job(_):
        clock.now += 1

    async def ask():
        for _ in range(200):
            await submitted(lane, job)

    alone(lane, ask)
    return lane


def test_a_job_that_could_hardly_have_its_turn_in_time_is_turned_away_at_once(slow_lane, clock):
    """A second for the one before it, and it may be half as much again."""

    async def ask():
        held = [submitted(slow_lane, lambda _: None)]
        with pytest.raises(Busy):
            submitted(slow_lane, lambda _: None, deadline=clock.now + 1.4)
        assert slow_lane.has_room(clock.now + 1.6)
        held.append(submitted(slow_lane, lambda _: None, deadline=clock.now + 1.6))
        await asyncio.gather(*held)

    alone(slow_lane, ask)


def test_what_is_done_between_two_turns_is_expected_to_delay_the_next_one_too(lane, clock):
    """An overloaded lane spends more time on refusing than on jobs."""

    def refuse_others():
        clock.now += 1

    async def ask():
        for _ in range(200):
            jobs = [submitted(lane, lambda _: None) for _ in range(2)]
            lane.loop.call_soon(refuse_others)
            await asyncio.gather(*jobs)
        held = submitted(lane, lambda _: None)
        assert not lane.has_room(clock.now + 0.5)
        await held

    alone(lane, ask)


def test_time_without_anything_to_do_is_no_part_of_a_turn(lane, clock):
    async def ask():
        for _ in range(200):
            await submitted(lane, lambda _: None)
            clock.now += 1
        held = submitted(lane, lambda _: None)
        assert lane.has_room(clock.now + 0.01)
        await held

    alone(lane, ask)


def test_a_job_that_need_not_wait_is_done_however_slow_others_were(slow_lane, clock):
    async def ask():
        return await submitted(slow_lane, lambda _: "done", deadline=clock.now + 0.001)

    assert alone(slow_lane, ask) == "done"


def test_a_job_that_was_not_done_says_nothing_of_how_long_turns_take(slow_lane, clock):
    def slow(_):
        clock.now += 1

    async def ask():
        held = submitted(slow_lane, slow)
        late = submitted(slow_lane, lambda _: None, deadline=clock.now + 1.6)
        clock.now += 1  # so the first turn takes two
        await asyncio.gather(held, late, return_exceptions=True)
        assert isinstance(late.exception(), TooLate)
        held = submitted(slow_lane, slow)
        assert not slow_lane.has_room(clock.now + 1.52)  # 1.50 if no time were told of the other
        await held

    alone(slow_lane, ask)


def test_what_has_come_meanwhile_is_seen_between_two_jobs(lane):
    """So that it is refused while it is fresh, and the answer before it has been sent."""
    seen = []
    near, far = socket.socketpair()

    async def ask(number, all_done):
        await lane.submit(lambda _: seen.append(number) or far.send(b"x"))
        seen.append("answered")
        if number == 2:
            all_done.set()

    async def ask_all():
        all_done = asyncio.Event()
        lane.loop.add_reader(near, lambda: seen.append("read") or near.recv(1))
        for number in range(3):
            begin(ask(number, all_done), lane.loop)
        await all_done.wait()
        lane.loop.remove_reader(near)

    with near, far:
        alone(lane, ask_all)
    assert seen[:8] == [0, "answered", "read", 1, "answered", "read", 2, "answered"]


def test_another_lane_takes_what_would_wait_here_for_long(lanes):
    first, _ = lanes

    async def ask():
        here = threading.get_ident()
        jobs = [
            submitted(first, lambda pad: (threading.get_ident() == here, pad)) for _ in range(3)
        ]
        return await asyncio.gather(*jobs)

    found = on(first, ask)
    assert [is_here for is_here, _ in found] == [True, True, False]
    pads = [pad for _, pad in found]
    assert pads[0] is pads[1]
    assert pads[2] is not pads[0], "scratch memory belongs to a thread"


def test_an_error_comes_back_from_another_lane(lanes):
    first, _ = lanes

    async def ask():
        jobs = [submitted(first, lambda _: None), submitted(first, lambda _: None)]
        with pytest.raises(ZeroDivisionError):
            await submitted(first, lambda _: 1 / 0)
        await asyncio.gather(*jobs)

    on(first, ask)


def test_there_is_room_where_another_lane_has_some(lanes):
    first, _ = lanes
    gate = threading.Event()

    async def ask():
        jobs = [submitted(first, lambda _: gate.wait(20)) for _ in range(2 * WAITING - 1)]
        with pytest.raises(Busy):
            submitted(first, lambda _: None)
        gate.set()
        await asyncio.gather(*jobs)

    on(first, ask)


@pytest.mark.parametrize(
    ("limit", "processors", "lanes"),
    [
        pytest.param("1", 64, 1, id="a pod may use less than the node has"),
        pytest.param("4", 2, 4, id="what the pod was told goes before what is seen"),
        pytest.param(None, 2, 2, id="outside a pod, as many as the machine has"),
        pytest.param("64", 64, 8, id="no more than the interpreter can serve"),
    ],
)
def test_there_is_a_lane_for_each_processor(limit, processors, lanes):
    assert lanes_for(limit, processors) == lanes
