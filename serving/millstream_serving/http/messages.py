"""Requests as they were read from a connection, and answers as bytes for it."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from httptools import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millstream_serving.http.refusals import BadRequest
    from millstream_serving.http.replies import Reply

_STATUS: Final = {
    each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus
}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request that is there to its end."""

    method: str
    path: str  # decoded
    query: str  # without the question mark, as sent
    headers: Mapping[bytes, bytes]  # by name in lower case; of several the last
    body: bytes | BadRequest  # or why there is none

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def content(self) -> bytes:
        """The body; raises BadRequest where there is none."""
        if isinstance(self.body, bytes):
            return self.body
        raise self.body


def read_target(target: bytes) -> tuple[str, str]:
    """The path and the query of a request's target (RFC 9112, 3.2).

    Raises:
        ValueError: it is none, or no text.
    """
    if target.startswith(b"/"):
        path, _, query = target.partition(b"?")
    else:  # as to a proxy
        url = parse_url(target)
        path, query = url.path or b"/", url.query or b""
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode(), query.decode()


class Dates:
    """The value of the header Date, made once a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Take it from this clock, Unix seconds."""
        self._clock = clock
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        """The whole header, with its end."""
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._line = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._line


def written(reply: Reply, date: bytes, *, is_last: bool, has_body: bool = True) -> bytes:
    """An answer as it goes over the wire (RFC 9112).

    Args:
        reply: the answer.
        date: its header, with its end.
        is_last: the connection is closed behind it.
        has_body: not where HEAD was asked.
    """
    others = "".join([f"{name}: {value}\r\n" for name, value in reply.headers])
    if is_last:
        others += "connection: close\r\n"
    head = (
        f"content-type: {reply.content_type}\r\ncontent-length: {len(reply.body)}\r\n{others}\r\n"
    )
    body = reply.body if has_body else b""
    return b"".join((_STATUS[reply.status], date, head.encode(), body))
