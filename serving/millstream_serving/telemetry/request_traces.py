"""Traces of requests: which ones, and the spans that marks become.

A caller who sends `traceparent` (W3C Trace Context) has decided: its sampled flag says whether, and
the spans belong to its trace. Of the others a share is sampled.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from millstream_api.names import HEADER_BATCH, HEADER_VERSION
from millstream_core.telemetry.exporting import caller_in
from millstream_core.telemetry.spans import Place, Span, somewhere, within
from millstream_serving.http.replies import NONE
from millstream_serving.ranking.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millstream_core.telemetry.exporting import SpanExporter

Attributes = dict[str, str | int | float | bool]


class TracedMarks(Marks):
    """Marks of a request, and whose request it is."""

    def __init__(self, stopwatch: Callable[[], float], caller: Place | None) -> None:
        """The request is here, as part of this span of its caller's."""
        super().__init__(stopwatch)
        self.caller = caller


class RequestTraces:
    """Decides which requests are traced, and tells of those."""

    def __init__(
        self,
        exporter: SpanExporter,
        ratio: float,
        *,
        draw: Callable[[], float],
        stopwatch: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """Trace a share of the requests.

        Args:
            exporter: takes the spans.
            ratio: of the requests whose callers do not say.
            draw: a random number from 0 to below 1.
            stopwatch: seconds of a clock that never jumps.
            clock: Unix seconds.
        """
        self._exporter = exporter
        self._ratio = ratio
        self._draw = draw
        self._stopwatch = stopwatch
        self._clock = clock

    def begin(self, traceparent: str | None) -> TracedMarks | None:
        """Marks for a request that came just now; None: it is not traced."""
        caller = None if traceparent is None else caller_in(traceparent)
        if caller is not None:
            place, is_sampled = caller
            return TracedMarks(self._stopwatch, place) if is_sampled else None
        return TracedMarks(self._stopwatch, None) if self._draw() < self._ratio else None

    def end(self, marks: TracedMarks, name: str, status: int, headers: Mapping[str, str]) -> None:
        """Tell of a request that has been answered just now.

        Args:
            marks: of it.
            name: its method, and the path without the parts that callers choose.
            status: of the answer.
            headers: of the answer.
        """
        marks.mark("answer")
        method, _, route = name.partition(" ")
        attributes: Attributes = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "millstream.version": headers.get(HEADER_VERSION, NONE),
            "millstream.batch": headers.get(HEADER_BATCH, NONE),
        }
        self._exporter.tell(partial(request_spans, marks, self._clock(), name, attributes))


def request_spans(
    marks: TracedMarks, ended: float, name: str, attributes: Attributes
) -> list[Span]:
    """The span of a request and one for each of its stages.

    Args:
        marks: of the request, with the end of its last stage.
        ended: when that was, Unix seconds.
        name: of the request.
        attributes: of the answer.
    """
    zero = ended - marks.ends[-1][1]  # of the stopwatch, in Unix seconds
    place = somewhere() if marks.caller is None else within(marks.caller)
    has_failed = int(attributes["http.response.status_code"]) >= 500
    start = zero + marks.start
    spans = [
        Span(
            name,
            place,
            marks.caller,
            start,
            ended,
            attributes,
            is_request=True,
            has_failed=has_failed,
        )
    ]
    for stage, end in marks.ends:
        spans.append(Span(stage, within(place), place, start, zero + end))
        start = zero + end
    return spans
