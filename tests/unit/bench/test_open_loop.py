"""The client whose requests come when they come, against servers that answer as they please."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from bench.serving import connections
from bench.serving.connections import MOST, Outcome
from bench.serving.open_loop import LONGEST_SECONDS, arrivals, summed, visit
from bench.serving.workload import Request

STALL_SECONDS = 0.5


class Server(ThreadingHTTPServer):
    """Answers by a function of how many it has answered."""

    daemon_threads = True
    request_queue_size = 2 * MOST

    def __init__(self, answer, protocol):
        super().__init__(("127.0.0.1", 0), make_handler(answer, protocol))
        self.bodies = Counter()
        self.connections = set()
        self.asked = 0
        self.lock = threading.Lock()


def make_handler(answer, protocol):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = protocol

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            with self.server.lock:
                self.server.bodies[body] += 1
                self.server.connections.add(self.client_address)
                number = self.server.asked
                self.server.asked += 1
            answer(self, number)

        def log_message(self, *_):
            pass

    return Handler


def reply(handler, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


@contextmanager
def serving(answer, protocol="HTTP/1.1"):
    with Server(answer, protocol) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def url_of(server):
    return f"http://127.0.0.1:{server.server_port}/v1/rank"


REQUESTS = [Request(user=user, items=[1, 2], history=[3]) for user in range(3)]


def test_whoever_comes_while_the_server_stands_still_has_waited_since_they_were_due(monkeypatch):
    """Also those for whom there was no connection: a client that waits for each answer, or counts
    from when it could send, would have seen four long waits."""
    monkeypatch.setattr(connections, "MOST", 4)
    lock, is_over = threading.Lock(), threading.Event()

    def answer(handler, number):
        with lock:  # one after another, as by one worker
            if number == 0:
                is_over.wait(STALL_SECONDS)
            reply(handler)

    with serving(answer) as server:
        found = visit(url_of(server), REQUESTS, per_second=200, seconds=STALL_SECONDS)
    assert (len(found.answered), found.unanswered) == (100, 0)
    # Due evenly over the stall, they wait for half of it on average.
    assert found.p50 > STALL_SECONDS * 1e3 / 4
    assert found.answered.max() > STALL_SECONDS * 1e3 * 0.9


def test_requests_are_sent_round_and_round_whole_and_on_connections_kept():
    with serving(lambda handler, _: reply(handler)) as server:
        found = visit(url_of(server), REQUESTS, per_second=300, seconds=0.5)
        assert (len(found.answered), found.unanswered) == (150, 0)
        assert server.bodies == {each.body(): 50 for each in REQUESTS}
        assert len(server.connections) < 100


def test_a_server_that_closes_each_connection_is_asked_on_new_ones():
    with serving(lambda handler, _: reply(handler), protocol="HTTP/1.0") as server:
        found = visit(url_of(server), REQUESTS, per_second=200, seconds=0.5)
        assert (len(found.answered), found.unanswered) == (100, 0)
        assert len(server.connections) == 100


def test_more_requests_than_connections_wait_for_one():
    gate, enough = threading.Event(), MOST + 20

    def answer(handler, number):
        if number == MOST - 1:  # all connections are taken
            gate.set()
        gate.wait(20)
        reply(handler)

    with serving(answer) as server:
        found = visit(url_of(server), REQUESTS, per_second=20 * enough, seconds=1 / 20)
        assert (len(found.answered), found.unanswered) == (enough, 0)
        assert len(server.connections) == MOST


@pytest.mark.parametrize(
    ("answer", "is_refusal"),
    [
        pytest.param(lambda h: reply(h, 503, retry_after="1"), True, id="503 with Retry-After"),
        pytest.param(lambda h: reply(h, 503), False, id="503 that does not say when"),
        pytest.param(lambda h: reply(h, 500), False, id="500"),
        pytest.param(lambda h: h.connection.shutdown(socket.SHUT_RDWR), False, id="no answer"),
        pytest.param(lambda h: h.wfile.write(b"?" * 100 + b"\r\n\r\n"), False, id="no HTTP"),
    ],
)
def test_what_is_no_answer_is_a_refusal_or_a_failure(answer, is_refusal):
    def every_other(handler, number):
        if number % 2:
            reply(handler)
        else:
            answer(handler)

    with serving(every_other) as server:
        found = visit(url_of(server), REQUESTS, per_second=200, seconds=0.2)
    assert len(found.answered) == 20
    assert (len(found.refused), found.failed) == ((20, 0) if is_refusal else (0, 20))
    assert found.goodput == pytest.approx(100)


def test_a_server_that_is_not_there_fails_every_request():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/rank"
    assert visit(url, REQUESTS, per_second=100, seconds=0.1).failed == 10


def test_what_is_answered_too_late_or_never_has_failed():
    late = LONGEST_SECONDS + 0.1
    outcomes = [Outcome(200, 0.002), Outcome(200, late), Outcome(503, late, is_told_when=True)]
    found = summed(outcomes, 5, 1.0)
    assert found.answered.tolist() == [2.0]
    assert (len(found.refused), found.failed) == (0, 4)


def test_nothing_answered_is_no_wait_of_nought():
    assert np.isnan(summed([], 5, 1.0).p99)


def test_arrivals_are_a_poisson_process_of_the_rate():
    due = arrivals(1000, 20.0, np.random.default_rng(0))
    gaps = np.diff(due)
    assert gaps.mean() == pytest.approx(1e-3, rel=0.03)
    assert gaps.std() == pytest.approx(1e-3, rel=0.05)
