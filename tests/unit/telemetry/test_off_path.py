"""A queue with an end, and a thread behind it."""

from __future__ import annotations

import threading
import time

from millstream_core.telemetry.off_path import OffPath
from tests.builders.serving import until


def test_everything_is_done_in_order():
    done = []
    path = OffPath("test", done.extend, room=5000)
    for i in range(5000):
        path.put(i)
    path.close(10)
    assert done == list(range(5000))
    assert path.dropped == 0


def test_what_there_is_no_room_for_is_dropped_and_counted_without_a_wait():
    held, go_on, done = threading.Event(), threading.Event(), []

    def do(batch):
        held.set()
        go_on.wait(20)
        done.extend(batch)

    path = OffPath("test", do, room=3)
    path.put("first")
    assert held.wait(20)
    start = time.monotonic()
    for i in range(1000):
        path.put(i)
    assert time.monotonic() - start < 5, "nobody waits for the thread, which is held up"
    assert path.dropped == 997
    go_on.set()
    path.close(10)
    assert done == ["first", 0, 1, 2]


def test_what_fails_is_counted_and_the_next_is_done():
    done = []

    def do(batch):
        if batch == ["bad"]:
            raise OSError("nobody takes it")
        done.extend(batch)

    path = OffPath("test", do, room=10)
    path.put("bad")
    until(lambda: path.dropped == 1, "the failure to be counted")
    path.put("good")
    path.close(10)
    assert done == ["good"]


def test_what_is_gathered_comes_as_one_batch_and_closing_does_not_wait_for_more():
    batches = []
    path = OffPath("test", batches.append, room=10, gather=60.0)
    path.put(1)
    path.put(2)
    start = time.monotonic()
    path.close(10)
    assert time.monotonic() - start < 10
    assert batches == [[1, 2]]


def test_closing_does_not_wait_for_what_hangs_and_takes_nothing_more():
    go_on = threading.Event()
    path = OffPath("test", lambda _: go_on.wait(20), room=10)
    path.put(1)
    path.close(0.01)
    path.put(2)
    assert path.dropped == 1
    go_on.set()
