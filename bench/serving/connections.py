"""The sockets of the open-loop client, which shares two cores with the servers that it measures.

aiohttp takes 0.4 ms of processor a request, a third of what our server takes for an answer: at
three times a server's maximum that would measure the client. Here one thread sends and reads,
httptools, in C, parses, and a request takes 0.07 to 0.12 ms. `select` wakes up to 0.1 ms of a due
time; the timers of event loops, and of epoll, are to a millisecond.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

MOST: Final = 256  # connections
CONNECT_SECONDS: Final = 5.0
LARGEST_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request."""

    status: int  # 0: no answer
    waited: float  # seconds from when it was due
    is_told_when: bool = False  # to try again


def message(url: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A POST of some JSON, as it goes over the wire."""
    to = urlsplit(url)
    others = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST {to.path} HTTP/1.1\r\nhost: {to.netloc}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n{others}\r\n"
    )
    return head.encode() + body


class Connections:
    """Connections to one server: a request takes one that is free, a new one, or waits for one."""

    def __init__(self, url: str) -> None:
        """None is open yet."""
        to = urlsplit(url)
        self.outcomes: list[Outcome] = []
        self._address = (to.hostname, to.port)
        self._all: dict[int, _Connection] = {}  # by file descriptor
        self._free: list[_Connection] = []
        self._waiting: deque[tuple[bytes, float]] = deque()
        self._unanswered = 0
        self._poll = select.epoll()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in self._all.values():
            each.socket.close()
        self._poll.close()

    def send(self, request: bytes, due: float) -> None:
        """Send it at once if there is a connection for it, or as soon as there is one.

        Args:
            request: as it goes over the wire.
            due: when it should have been sent, by `time.perf_counter`.
        """
        self._unanswered += 1
        self._send(request, due)

    def read_until(self, moment: float, *, or_all_are_answered: bool = False) -> None:
        """Take in what is answered until then, by `time.perf_counter`."""
        while (rest := moment - time.perf_counter()) > 0:
            if or_all_are_answered and not self._unanswered:
                return
            if select.select([self._poll], [], [], rest)[0]:
                for descriptor, _ in self._poll.poll(0):
                    self._receive(self._all[descriptor])

    def _send(self, request: bytes, due: float) -> None:
        try:
            if self._free:
                connection = self._free.pop()
            elif len(self._all) < MOST:
                connection = self._connect()
            else:
                self._waiting.append((request, due))
                return
            connection.socket.sendall(request)
            connection.due = due
        except OSError:  # a connection that was closed is forgotten when that is read
            self._note(Outcome(0, time.perf_counter() - due))

    def _connect(self) -> _Connection:
        made = socket.create_connection(self._address, timeout=CONNECT_SECONDS)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(made)
        self._all[made.fileno()] = connection
        self._poll.register(made, select.EPOLLIN)
        return connection

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(LARGEST_READ)
            connection.parser.feed_data(data)
        except (OSError, HttpParserError):
            data = b""
        is_complete, is_closed = connection.is_complete, not data
        if connection.due is not None and (is_complete or is_closed):
            status = connection.parser.get_status_code() if is_complete else 0
            waited = time.perf_counter() - connection.due
            self._note(Outcome(status, waited, connection.is_told_when))
        if is_closed or (is_complete and not connection.is_kept):
            self._forget(connection)
        elif is_complete:
            connection.renew()
            self._free.append(connection)
        if self._waiting and (self._free or len(self._all) < MOST):
            self._send(*self._waiting.popleft())

    def _note(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._unanswered -= 1

    def _forget(self, connection: _Connection) -> None:
        self._poll.unregister(connection.socket)
        del self._all[connection.socket.fileno()]
        if connection in self._free:
            self._free.remove(connection)
        connection.socket.close()


class _Connection:
    """One connection, and what httptools has read on it of the answer in flight."""

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.due: float | None
        self.renew()

    def renew(self) -> None:
        """Nothing has been asked."""
        self.due = None
        self.is_complete = self.is_kept = self.is_told_when = False
        self.parser = HttpResponseParser(self)

    def on_header(self, name: bytes, _: bytes) -> None:
        """Called by the parser."""
        self.is_told_when |= name.lower() == b"retry-after"

    def on_message_complete(self) -> None:
        """Called by the parser, which forgets what it knows of the connection afterwards."""
        self.is_complete = True
        self.is_kept = self.parser.should_keep_alive()
