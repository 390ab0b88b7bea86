"""Spans on their way to a collector: what arrives, and what becomes of those that cannot."""

from __future__ import annotations

import logging
import time

import pytest

from millstream_core.telemetry.exporting import SpanExporter, caller_in
from millstream_core.telemetry.spans import Place, Span, place_of, somewhere, within
from tests.builders.otlp import collector
from tests.builders.serving import make_ref, until


@pytest.fixture
def receiver():
    with collector() as made:
        yield made


@pytest.fixture
def exporter(receiver):
    made = SpanExporter(f"{receiver.url}/", {"service.name": "test"}, gather=0.01)
    yield made
    made.close()


def span(name="work", **fields):
    return Span(name, **{"place": somewhere(), "parent": None, "start": 1.5, "end": 2.5} | fields)


def test_a_span_arrives_as_it_was_told(exporter, receiver):
    parent = somewhere()
    place = within(parent)
    told = {"millstream.version": "7", "http.response.status_code": 500}
    exporter.tell(
        lambda: [span("request", place=place, parent=parent, attributes=told, has_failed=True)]
    )
    [got] = receiver.wait_for("request")
    assert (int(got.trace, 16), int(got.span, 16)) == place
    assert int(got.parent, 16) == parent.span
    assert (got.start, got.end) == (1_500_000_000, 2_500_000_000)
    assert (got.kind, got.status) == (1, 2), "internal, error"
    assert got.attributes == told
    assert got.resource == {"service.name": "test"}


def test_the_span_of_a_request_is_a_servers_and_a_first_one_has_no_parent(exporter, receiver):
    exporter.tell(lambda: [span(is_request=True)])
    [got] = receiver.wait_for("work")
    assert (got.kind, got.parent, got.status) == (2, "", 0)


def test_closing_sends_what_waits(receiver):
    exporter = SpanExporter(receiver.url, {}, gather=60)
    exporter.tell(lambda: [span()])
    exporter.close()
    assert len(receiver.spans) == 1


def test_a_collector_that_refuses_costs_one_line_and_every_trace_is_counted(
    exporter, receiver, caplog
):
    caplog.set_level(logging.INFO)
    receiver.status = 400
    for sent in range(1, 4):
        exporter.tell(lambda: [span()])
        until(lambda n=sent: exporter.dropped == n, "the trace to be counted")
    receiver.status = 200
    exporter.tell(lambda: [span()])
    receiver.wait_for("work")

    def ours():  # pytest listens to OpenTelemetry itself, which nobody else does
        return [each.getMessage() for each in caplog.records if "millstream" in each.name]

    until(lambda: len(ours()) == 2, "both lines")
    first, last = ours()
    assert first.startswith(f"traces cannot be sent to {receiver.url}/ and are dropped until")
    assert "400" in first
    assert last == f"traces are sent to {receiver.url}/ again"


def test_nobody_waits_for_a_collector_that_hangs(receiver, monkeypatch):
    monkeypatch.setattr("millstream_core.telemetry.exporting.CLOSE_SECONDS", 0.1)
    exporter = SpanExporter(receiver.url, {}, gather=0.01)
    receiver.answers.clear()
    exporter.tell(lambda: [span()])
    until(lambda: receiver.requests == 1, "the first to hang")
    start = time.monotonic()
    for _ in range(5000):
        exporter.tell(lambda: [span()])
    exporter.close()
    assert time.monotonic() - start < 2
    assert exporter.dropped >= 5000 - 2048


@pytest.mark.parametrize(
    ("header", "found"),
    [
        pytest.param(f"00-{1:032x}-{2:016x}-01", (Place(1, 2), True), id="a sampled caller"),
        pytest.param(f"00-{1:032x}-{2:016x}-00", (Place(1, 2), False), id="one that is not"),
        pytest.param(f"00-{0:032x}-{2:016x}-01", None, id="no trace"),
        pytest.param(f"ff-{1:032x}-{2:016x}-01", None, id="a version that is none"),
        pytest.param("", None, id="nothing"),
        pytest.param("x" * 10_000, None, id="far too long"),
    ],
)
def test_a_traceparent_says_whose_the_request_is(header, found):
    assert caller_in(header) == found


def test_a_version_has_one_place_whoever_asks_and_another_version_another():
    first, second = make_ref(1), make_ref(2)
    assert place_of(first) == place_of(make_ref(1))
    assert place_of(first).trace == int(first.digest, 16) >> 128
    assert place_of(first).trace != place_of(second).trace
    assert place_of(first).span.bit_length() <= 64
