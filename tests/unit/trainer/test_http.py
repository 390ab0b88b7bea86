"""What the trainer answers over HTTP."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any

import pytest

from millstream_api.reports import Progress, StoreHealth
from millstream_trainer import http as trainer_http
from millstream_trainer.http import Reporter, serve
from millstream_trainer.instruments import Instruments

if TYPE_CHECKING:
    from collections.abc import Iterator


class Endpoint:
    def __init__(self) -> None:
        self.instruments = Instruments()
        self.reporter = Reporter(self.instruments)
        self.server = serve(self.reporter, "127.0.0.1", 0)

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    yield running
    running.server.shutdown()
    running.server.server_close()


def make_progress(**fields: Any) -> Progress:
    known: dict[str, Any] = {
        "worker": "w",
        "phase": "Training",
        "store": StoreHealth(ok=True, reason="Reachable"),
    }
    return Progress(**(known | fields))


def test_before_training_it_lives_but_is_not_ready(endpoint: Endpoint) -> None:
    assert endpoint.get("/healthz")[0] == 200
    assert endpoint.get("/readyz")[0] == 503
    assert endpoint.get("/progress")[0] == 503


@pytest.mark.parametrize(
    ("phase", "status"),
    [("Starting", 503), ("Restoring", 503), ("Training", 200), ("Draining", 503)],
)
def test_ready_means_training(endpoint: Endpoint, phase: str, status: int) -> None:
    endpoint.reporter.publish(make_progress(phase=phase))
    assert endpoint.get("/readyz")[0] == status


def test_progress_is_the_wire_format(endpoint: Endpoint) -> None:
    progress = make_progress(step=7, rejected={"BadLabel": 2})
    endpoint.reporter.publish(progress)
    status, body = endpoint.get("/progress?pretty=1")
    assert status == 200
    assert Progress.parse(body) == progress


def test_a_loop_that_stands_still_is_not_healthy(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_http, "STUCK_SECONDS", -1.0)
    endpoint.reporter.publish(make_progress())
    assert endpoint.get("/healthz")[0] == 503
    endpoint.reporter.publish(make_progress(phase="Restoring"))
    assert endpoint.get("/healthz")[0] == 200, "restoring takes as long as it takes"


def test_metrics_show_the_progress(endpoint: Endpoint) -> None:
    endpoint.instruments.observe_progress(make_progress(auc=0.75, rows={"user": 3}))
    status, body = endpoint.get("/metrics")
    assert status == 200
    assert "millstream_training_auc 0.75" in body
    assert 'millstream_training_table_rows{table="user"} 3.0' in body


def test_other_paths_say_what_there_is(endpoint: Endpoint) -> None:
    status, body = endpoint.get("/")
    assert status == 404
    assert "/progress" in body
