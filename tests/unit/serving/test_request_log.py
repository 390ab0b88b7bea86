"""The log of sampled requests: what is in a line, and how many there are."""

from __future__ import annotations

import io
import json
import threading

import numpy as np
import pytest

from millstream_serving.engine.best import Best
from millstream_serving.ranking.answers import Asked, Outcome, Query
from millstream_serving.telemetry.request_log import Rate, RequestLog
from tests.builders.serving import make_ref

V1 = make_ref(1)


class Stopwatch:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def make_log(stream, *, ratio=1.0, per_second=1e9, draws=(), watch=None, **options):
    drawn = iter(draws)
    return RequestLog(
        stream,
        "shop-server-0",
        ratio,
        Rate(per_second, watch or Stopwatch()),
        draw=lambda: next(drawn, 0.0),
        clock=lambda: 1_700_000_000.25,
        **options,
    )


def outcome(ids, items, history):
    asked = Asked(3, np.array(items, np.int64), np.array(history, np.int64))
    best = Best([0] * len(ids), np.linspace(0.9, 0.1, len(ids)).tolist(), 0.0, 0.0)
    return Outcome(V1, ids, best, (), asked)


ASKED = Query(3, (1001, "x"), (1, "y"), 1, {"device": "web"})
RECOMMENDED = Query("somebody", None)


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("query", "items", "history"),
    [
        pytest.param(ASKED, [1001, "x"], [1, "y"], id="ids stay as they were sent"),
        pytest.param(RECOMMENDED, [5, 6], [7], id="what the server chose is what can be asked for"),
    ],
)
def test_a_line_can_be_asked_again(query, items, history):
    stream = io.BytesIO()
    log = make_log(stream)
    log.note(query, outcome([6], [5, 6], [7]), 4)
    log.close()
    [line] = lines(stream)
    assert line == {
        "log": "request",
        "time": "2023-11-14T22:13:20.250+00:00",
        "replica": "shop-server-0",
        "version": 1,
        "digest": V1.digest,
        "batch": 4,
        "request": {
            "user_id": query.user_id,
            "items": items,
            "history": history,
            "context": query.context,
            "k": 1,
        },
        "answer": {"ids": [6], "scores": [0.9]},
    }


def test_a_share_is_logged():
    stream = io.BytesIO()
    log = make_log(stream, ratio=0.5, draws=[0.1, 0.5, 0.9, 0.49])
    for _ in range(4):
        log.note(ASKED, outcome([6], [5, 6], [7]), None)
    log.close()
    assert len(lines(stream)) == 2
    assert log.dropped == 0, "what is not in the sample is not missing"


def test_a_rate_lets_through_what_it_says_and_after_a_pause_a_second_of_it():
    watch = Stopwatch()
    rate = Rate(5, watch)
    assert [rate.take() for _ in range(7)] == [True] * 5 + [False] * 2
    watch.now += 0.2
    assert [rate.take() for _ in range(2)] == [True, False]
    watch.now += 3600
    assert [rate.take() for _ in range(7)] == [True] * 5 + [False] * 2


def test_a_rate_below_one_a_second_lets_one_through_now_and_then():
    watch = Stopwatch()
    rate = Rate(0.1, watch)
    assert [rate.take(), rate.take()] == [True, False]
    watch.now += 9
    assert not rate.take()
    watch.now += 1.01
    assert rate.take()


def test_a_reader_that_hangs_holds_nobody_up():
    go_on = threading.Event()

    class Hanging(io.BytesIO):
        def write(self, data):
            go_on.wait(20)
            return super().write(data)

    log = make_log(Hanging(), room=3)
    for _ in range(500):
        log.note(ASKED, outcome([6], [5, 6], [7]), None)
    assert log.dropped > 400
    go_on.set()
    log.close()
