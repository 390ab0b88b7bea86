"""Spans on their way to a collector: OpenTelemetry's protocol over HTTP.

    tell ──► OffPath ──► as OpenTelemetry has them ──► OTLP/HTTP exporter ──► <endpoint>/v1/traces

Importing this module imports OpenTelemetry, which takes 0.25 s: do so where traces are asked for.
The SDK's own way of making spans is left aside: a request's six take it 120 µs instead of 19, and
they begin and end where they are made, not in other threads and before.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from millstream_core.telemetry.off_path import OffPath
from millstream_core.telemetry.spans import Place, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

log = logging.getLogger(__name__)

TRACES_WAITING: Final = 2048
GATHER_SECONDS: Final = 1.0  # so that a request to the collector carries many
SEND_SECONDS: Final = 5.0  # for one batch, repeats included
CLOSE_SECONDS: Final = 2.0

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_SCOPE: Final = InstrumentationScope("millstream")
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class SpanExporter:
    """Sends spans, or drops and counts them where the collector cannot keep up or is away."""

    def __init__(
        self, endpoint: str, resource: Mapping[str, str], *, gather: float = GATHER_SECONDS
    ) -> None:
        """Send to this collector.

        Args:
            endpoint: its URL, without the path of the protocol.
            resource: who tells, in OpenTelemetry's terms.
            gather: seconds to collect before sending.
        """
        self._endpoint = endpoint
        self._resource = Resource(dict(resource))
        self._otlp = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=SEND_SECONDS)
        self._words = _Words()
        self._fails = False
        self._queue = OffPath("traces", self._send, room=TRACES_WAITING, gather=gather)

    @property
    def dropped(self) -> int:
        """Traces that were not sent."""
        return self._queue.dropped

    def tell(self, spans: Callable[[], Iterable[Span]]) -> None:
        """Send what this returns; it is called on the exporter's thread."""
        self._queue.put(spans)

    def close(self) -> None:
        """Send what waits, if that is quick."""
        self._queue.close(CLOSE_SECONDS)
        self._otlp.shutdown()  # type: ignore[no-untyped-call]

    def _send(self, batch: Sequence[Callable[[], Iterable[Span]]]) -> None:
        self._words.said.clear()
        spans = [self._readable(span) for told in batch for span in told()]
        is_sent = self._otlp.export(spans) is SpanExportResult.SUCCESS
        # Once when it begins and once when it ends, not once a batch.
        if is_sent and self._fails:
            log.info("traces are sent to %s again", self._endpoint)
        if not is_sent and not self._fails:
            log.warning(
                "traces cannot be sent to %s and are dropped until it takes them: %s",
                self._endpoint,
                "; ".join(self._words.said),
            )
        self._fails = not is_sent
        if not is_sent:
            raise _NotSent

    def _readable(self, span: Span) -> ReadableSpan:
        return ReadableSpan(
            span.name,
            _context(span.place),
            None if span.parent is None else _context(span.parent, is_remote=span.is_request),
            self._resource,
            span.attributes,
            kind=SpanKind.SERVER if span.is_request else SpanKind.INTERNAL,
            status=Status(StatusCode.ERROR if span.has_failed else StatusCode.UNSET),
            start_time=int(span.start * 1e9),
            end_time=int(span.end * 1e9),
            instrumentation_scope=_SCOPE,
        )


class _NotSent(Exception):  # noqa: N818 - never leaves this module but to be counted
    """The collector did not take a batch."""


class _Words(logging.Handler):
    """Keeps what OpenTelemetry would log, a line or more for each batch, to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.said: deque[str] = deque(maxlen=3)
        theirs = logging.getLogger("opentelemetry")
        theirs.handlers, theirs.propagate = [self], False

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        self.said.append(record.getMessage()[:300])


def caller_in(traceparent: str) -> tuple[Place, bool] | None:
    """The caller's span, and whether the caller samples; None: the header is none of W3C's."""
    found = get_current_span(_PROPAGATOR.extract({"traceparent": traceparent})).get_span_context()
    if not found.is_valid:
        return None
    return Place(found.trace_id, found.span_id), found.trace_flags.sampled


def _context(place: Place, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(place.trace, place.span, is_remote, _SAMPLED)
