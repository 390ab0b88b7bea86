"""What a server tells besides, put together from its settings; nothing where nothing is asked."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from millstream_serving.telemetry.request_log import Rate, RequestLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.settings import ServerSettings
    from millstream_core.telemetry.exporting import SpanExporter
    from millstream_serving.telemetry.request_traces import RequestTraces
    from millstream_serving.telemetry.version_traces import VersionTraces


@dataclass
class Telemetry:
    """The parts that are asked for; None for the others."""

    request_traces: RequestTraces | None = None
    version_traces: VersionTraces | None = None
    request_log: RequestLog | None = None
    dropped: dict[str, Callable[[], int]] = field(default_factory=dict)  # counts, by kind
    _exporter: SpanExporter | None = None

    @classmethod
    def of(
        cls,
        settings: ServerSettings,
        replica: str,
        *,
        stopwatch: Callable[[], float],
        clock: Callable[[], float],
    ) -> Self:
        """What these settings ask for.

        Args:
            settings: of the RecServing.
            replica: name of this one.
            stopwatch: seconds of a clock that never jumps.
            clock: Unix seconds.
        """
        made = cls()
        if settings.tracing is not None:
            made._trace(settings, replica, stopwatch, clock)
        if settings.request_log is not None:
            made.request_log = log = RequestLog(
                sys.stdout.buffer,
                replica,
                settings.request_log.sample_ratio,
                Rate(settings.request_log.per_second, stopwatch),
                draw=random.random,
                clock=clock,
            )
            made.dropped["request"] = lambda: log.dropped
        return made

    def close(self) -> None:
        """Send and write what waits, if that is quick."""
        if self.request_log is not None:
            self.request_log.close()
        if self._exporter is not None:
            self._exporter.close()

    def _trace(
        self,
        settings: ServerSettings,
        replica: str,
        stopwatch: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        # Here alone, for OpenTelemetry takes a quarter of a second to import.
        from millstream_core.telemetry.exporting import SpanExporter  # noqa: PLC0415
        from millstream_serving.telemetry.request_traces import RequestTraces  # noqa: PLC0415
        from millstream_serving.telemetry.version_traces import VersionTraces  # noqa: PLC0415

        tracing = settings.tracing
        assert tracing is not None
        self._exporter = SpanExporter(
            tracing.endpoint,
            {
                "service.name": "millstream-server",
                "service.instance.id": replica,
                "millstream.model": settings.model,
            },
        )
        self.dropped["trace"] = lambda: exporter.dropped
        exporter = self._exporter
        self.version_traces = VersionTraces(exporter, clock)
        self.request_traces = RequestTraces(
            exporter,
            tracing.sample_ratio,
            draw=random.random,
            stopwatch=stopwatch,
            clock=clock,
        )
