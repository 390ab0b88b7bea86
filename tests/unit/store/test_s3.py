"""What the S3 client makes of answers that a healthy server does not give."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

import pytest

from millstream_api.settings import StoreSettings
from millstream_core.store import (
    AccessDenied,
    PreconditionFailed,
    S3ObjectStore,
    StoreError,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class ScriptedServer(http.server.ThreadingHTTPServer):
    """Answers requests in turn from a script of (method, status, body); then 500."""

    daemon_threads = True

    def __init__(self, script: list[tuple[str, int, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, body = 500, b""
        if self.server.script and self.server.script[0][0] == self.command:
            _, status, body = self.server.script.pop(0)
        self.send_response(status)
        self.send_header("etag", '"tag"')
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = _answer  # noqa: N815 - names of the base class

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test's output clean."""


@pytest.fixture
def script() -> list[tuple[str, int, bytes]]:
    return []


@pytest.fixture
def objects(script: list[tuple[str, int, bytes]]) -> Iterator[S3ObjectStore]:
    server = ScriptedServer(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    where = StoreSettings(endpoint=f"http://127.0.0.1:{server.server_port}", bucket="b")
    yield S3ObjectStore(where, access_key="a", secret_key="s")
    server.shutdown()
    thread.join()
    server.server_close()


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()


def test_a_conflict_is_tried_again(
    objects: S3ObjectStore, script: list[tuple[str, int, bytes]]
) -> None:
    conflict = ("PUT", 409, _error("ConditionalRequestConflict"))
    script += [conflict, conflict, ("PUT", 200, b"")]
    assert objects.put("k", b"mine", if_absent=True) == '"tag"'


def test_a_lost_reply_is_read_back_and_counts_as_won(
    objects: S3ObjectStore, script: list[tuple[str, int, bytes]]
) -> None:
    script += [("PUT", 412, _error("PreconditionFailed")), ("GET", 200, b"mine")]
    assert objects.put("k", b"mine", if_absent=True) == '"tag"'


def test_a_race_that_another_won_is_lost(
    objects: S3ObjectStore, script: list[tuple[str, int, bytes]]
) -> None:
    script += [("PUT", 412, _error("PreconditionFailed")), ("GET", 200, b"theirs")]
    with pytest.raises(PreconditionFailed):
        objects.put("k", b"mine", if_absent=True)


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        pytest.param(403, "AccessDenied", AccessDenied, "refuses", id="denied"),
        pytest.param(403, "InvalidAccessKeyId", AccessDenied, "credentials", id="unknown key"),
        pytest.param(404, "NoSuchBucket", AccessDenied, "create it", id="no bucket"),
        pytest.param(404, "XAdminUserNotFound", AccessDenied, "credentials", id="unknown user"),
        pytest.param(404, "SomethingElse", StoreUnavailable, "404 SomethingElse", id="another 404"),
        pytest.param(501, "NotImplemented", StoreUnavailable, "501", id="server fault"),
    ],
)
def test_errors_say_what_to_do(
    objects: S3ObjectStore,
    script: list[tuple[str, int, bytes]],
    status: int,
    code: str,
    kind: type[StoreError],
    says: str,
) -> None:
    script.append(("GET", status, _error(code)))
    with pytest.raises(kind, match=says):
        objects.get("k")


def test_nobody_there_is_unavailable() -> None:
    where = StoreSettings(endpoint="http://127.0.0.1:9", bucket="b")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        S3ObjectStore(where, access_key="a", secret_key="s").get("k")
