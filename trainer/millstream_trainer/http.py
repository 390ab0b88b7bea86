"""What the trainer answers over HTTP: /progress, /healthz, /readyz, /metrics.

A handful of requests a minute beside a busy loop: the standard library's threaded server does
that, needs no event loop, and cannot be starved by one.
"""

from __future__ import annotations

import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from millstream_api.reports import Progress
    from millstream_trainer.instruments import Instruments

# The loop reports every second; restoring a large model takes as long as it takes.
STUCK_SECONDS: Final = 120.0
REQUEST_TIMEOUT_SECONDS: Final = 10.0


class Reporter:
    """The newest progress report, handed from the training thread to request threads."""

    def __init__(self, instruments: Instruments) -> None:
        """Start with no report."""
        self._instruments = instruments
        self._progress: Progress | None = None
        self._at = monotonic()

    def publish(self, progress: Progress) -> None:
        """Take the newest report; called by the training thread."""
        self._progress, self._at = progress, monotonic()

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body for a path."""
        progress, age = self._progress, monotonic() - self._at
        match path:
            case "/progress" if progress is not None:
                return HTTPStatus.OK, "application/json", progress.canonical()
            case "/progress":
                return _refused("the trainer has not begun")
            case "/healthz" if age < STUCK_SECONDS or _is_restoring(progress):
                return HTTPStatus.OK, "text/plain", b"ok\n"
            case "/healthz":
                return _refused(f"the training loop has not moved for {age:.0f} s")
            case "/readyz" if progress is not None and progress.phase == "Training":
                return HTTPStatus.OK, "text/plain", b"ok\n"
            case "/readyz":
                return _refused(f"phase {progress.phase if progress else 'Starting'}")
            case "/metrics":
                body = self._instruments.exposition()
                return HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", body
            case _:
                text = b"there are /progress, /healthz, /readyz and /metrics\n"
                return HTTPStatus.NOT_FOUND, "text/plain", text


def serve(reporter: Reporter, host: str, port: int) -> ThreadingHTTPServer:
    """Answer requests on a daemon thread; `server_port` says where.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_SECONDS

        def do_GET(self) -> None:
            status, content_type, body = reporter.answer(self.path.partition("?")[0])
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Requests of probes and scrapers are not news."""

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


def _is_restoring(progress: Progress | None) -> bool:
    return progress is not None and progress.phase == "Restoring"


def _refused(why: str) -> tuple[HTTPStatus, str, bytes]:
    return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{why}\n".encode()
