"""A collector of traces on loopback: takes what OpenTelemetry's protocol over HTTP brings."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.builders.serving import until

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Received:
    """A span as it came."""

    name: str
    trace: str  # hex
    span: str  # hex
    parent: str  # hex; "" for none
    start: int  # Unix nanoseconds
    end: int
    kind: int
    status: int
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass
class Collector:
    """What came, and what to answer."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    requests: int = 0
    status: int = 200  # of the answers to come
    answers: threading.Event = field(default_factory=threading.Event)  # none before it is set

    def wait_for(self, *names: str) -> list[Received]:
        """All spans, once there is one of each of these names."""
        until(lambda: {each.name for each in self.spans} >= set(names), f"spans {names}")
        return list(self.spans)

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        for of_resource in request.resource_spans:
            resource = _values(of_resource.resource.attributes)
            for of_scope in of_resource.scope_spans:
                self.spans += [
                    Received(
                        name=span.name,
                        trace=span.trace_id.hex(),
                        span=span.span_id.hex(),
                        parent=span.parent_span_id.hex(),
                        start=span.start_time_unix_nano,
                        end=span.end_time_unix_nano,
                        kind=span.kind,
                        status=span.status.code,
                        attributes=_values(span.attributes),
                        resource=resource,
                    )
                    for span in of_scope.spans
                ]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that answers until the block ends."""
    made = Collector()
    made.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.requests += 1
            made.answers.wait(30)
            if self.path == "/v1/traces" and made.status == 200:
                made.take(body)
            self.send_response(made.status if self.path == "/v1/traces" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not to stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        made.answers.set()
        server.shutdown()
        thread.join()
        server.server_close()
