"""One connection: bytes to requests by llhttp (httptools), answers to bytes, one after the other.

Everything is bounded: a head and a body by size, both together by time, what was asked and not yet
answered by what is read at once, answers that nobody reads by what a transport keeps. uvicorn does
most of this too, on the same parser, and took a fifth more of a request's processor time; see
docs/log.md.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from millstream_serving.eager import begin
from millstream_serving.http.messages import Dates, HttpRequest, read_target, written
from millstream_serving.http.refusals import BadRequest
from millstream_serving.http.replies import Reply, refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LARGEST_HEAD: Final = 64 * 1024  # bytes, and what came with its first
LARGEST_BODY: Final = 256 * 1024
# A connection that is closed while the caller still sends may be reset and our answer lost with it
# (RFC 9112, 9.6), so a body that is somewhat too large is received to its end, and not kept.
LARGEST_RECEIVED: Final = 16 * LARGEST_BODY
REQUEST_SECONDS: Final = 10.0  # who takes longer to send a request or read an answer is let go
# Longer than callers keep theirs (Envoy an hour, others a minute), for who closes first loses none.
IDLE_SECONDS: Final = 3900.0
MOST_WAITING: Final = 32  # requests asked ahead on one connection before it is read no further
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_MALFORMED: Final = refusal(400, "MalformedHttp", "this is no request of HTTP/1.1")
_HEAD_TOO_LARGE: Final = refusal(
    431, "HeadTooLarge", f"the head of a request may have {LARGEST_HEAD} bytes"
)
_LATE: Final = f"the request did not arrive within {REQUEST_SECONDS:.0f} s"
_HEAD_TOO_SLOW: Final = refusal(408, "RequestTooSlow", _LATE)


class Connection(asyncio.Protocol):
    """Belongs to one event loop."""

    def __init__(
        self,
        refuse: Callable[[HttpRequest], Reply | None],
        answer: Callable[[HttpRequest], Awaitable[Reply]],
        dates: Dates,
        open_ones: set[Connection],
        gone: Callable[[], None],
    ) -> None:
        """Nobody is there yet.

        Args:
            refuse: makes the answer to a request that there is no room for; must not fail.
            answer: makes the answer to any other; must not fail.
            dates: of answers.
            open_ones: this is among them as long as it is open.
            gone: called when it no longer is.
        """
        self._refuse = refuse
        self._answer = answer
        self._dates = dates
        self._open_ones = open_ones
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._waiting: deque[tuple[HttpRequest | Reply, bool]] = deque()  # and whether the last
        self._is_answering = False
        self._is_leaving = False  # closes behind the last answer
        self._is_ending = False  # reads nothing more
        self._is_read = asyncio.Event()  # the caller reads its answers
        self._is_read.set()
        self._is_paused = False
        self._begin()
        self._in_request = False
        # When the request began, the last one ended, or what was answered found no room.
        self._since = self._loop.time()

    def leave(self) -> None:
        """Close, behind the answer to what has been asked or is being asked."""
        self._is_leaving = True
        if not self._is_answering and not self._in_request:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = cast("asyncio.Transport", transport)
        self._open_ones.add(self)
        self._timer = self._loop.call_later(REQUEST_SECONDS, self._look_at_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        del exc
        del self._parser  # they hold each other, and would wait for the garbage collector
        self._timer.cancel()
        self._waiting.clear()
        self._is_read.set()
        self._open_ones.discard(self)
        self._gone()

    def data_received(self, data: bytes) -> None:
        """Some of a request, or of several."""
        head = self._headers if self._in_request and not self._is_body else None
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._end_after(None)  # to what we do not speak: answered as if it were not asked for
        except HttpParserError:
            self._end_after(_MALFORMED)
        if self._headers is head and not self._is_body:
            self._size += len(data)
            if self._size > LARGEST_HEAD:
                self._end_after(_HEAD_TOO_LARGE)
        self._answer_on()

    def eof_received(self) -> bool:
        """The caller has sent all that it will, and may still read."""
        self._is_leaving = True
        return self._is_answering

    def pause_writing(self) -> None:
        """The caller does not read its answers: read and answer no more of its requests."""
        self._is_read.clear()
        self._since = self._loop.time()
        self._pace()

    def resume_writing(self) -> None:
        """It does again."""
        self._is_read.set()
        self._pace()

    # httptools.HttpRequestParser

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begin()
        self._since = self._loop.time()

    def on_url(self, target: bytes) -> None:
        """Its target, or more of it."""
        self._target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._is_body, self._size = True, 0
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > LARGEST_RECEIVED:
            self._end_after(self._request(_too_large()))
        elif self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._waiting:
            self._transport.write(CONTINUE)

    def on_body(self, part: bytes) -> None:
        """Some of its body."""
        self._size += len(part)
        if self._size <= LARGEST_BODY:
            self._body.append(part)
        elif self._size > LARGEST_RECEIVED:
            self._end_after(self._request(_too_large()))

    def on_message_complete(self) -> None:
        """It is there to its end."""
        self._in_request = False
        is_last = not self._parser.should_keep_alive()
        is_whole = self._size <= LARGEST_BODY
        asked = self._request(b"".join(self._body) if is_whole else _too_large())
        if isinstance(asked, Reply):
            self._end_after(asked)
        else:
            self._ask(asked, is_last=is_last)

    # Answers

    def _request(self, body: bytes | BadRequest) -> HttpRequest | Reply:
        try:
            path, query = read_target(self._target)
        except ValueError:
            return _MALFORMED
        method = self._parser.get_method().decode()
        return HttpRequest(method, path, query, self._headers, body)

    def _begin(self) -> None:
        self._in_request, self._is_body = True, False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0  # bytes of the body, or of a head that has not ended

    def _ask(self, asked: HttpRequest | Reply, *, is_last: bool) -> None:
        self._waiting.append((asked, is_last))
        self._pace()

    def _answer_on(self) -> None:
        if self._waiting and not self._is_answering:
            self._is_answering = True
            begin(self._answer_all(), self._loop)

    def _end_after(self, asked: HttpRequest | Reply | None) -> None:
        """Read nothing more, and answer this last; None: what has been asked already."""
        if self._is_ending:
            return
        self._is_ending = True
        self._pace()
        if asked is None and self._waiting:
            asked, _ = self._waiting.pop()
        if asked is not None:
            self._ask(asked, is_last=True)

    def _pace(self) -> None:
        """Read, or do not for now."""
        is_unread = not self._is_read.is_set()
        be_paused = self._is_ending or is_unread or len(self._waiting) > MOST_WAITING
        if be_paused != self._is_paused and not self._transport.is_closing():
            self._is_paused = be_paused
            if be_paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    async def _answer_all(self) -> None:
        while self._waiting:
            asked, is_last = self._waiting[0]
            has_body = True
            if isinstance(asked, Reply):
                reply = asked
            else:
                reply = self._refuse(asked) or await self._answer(asked)
                has_body = asked.method != "HEAD"
            if self._transport.is_closing():
                break
            is_last |= reply.is_last or (self._is_leaving and len(self._waiting) == 1)
            self._transport.write(
                written(reply, self._dates.line(), is_last=is_last, has_body=has_body)
            )
            if is_last:
                self._transport.close()
                break
            self._waiting.popleft()
            if self._waiting:
                await asyncio.sleep(0)  # who asks ahead takes turns with others
                await self._is_read.wait()
        self._is_answering = False
        self._since = self._loop.time()
        self._pace()

    def _look_at_time(self) -> None:
        """Let go of a caller that takes too long; looked at now and then, not at each request."""
        is_unread = not self._is_read.is_set()
        patience = REQUEST_SECONDS if self._in_request or is_unread else IDLE_SECONDS
        left = self._since + patience - self._loop.time()
        if left > 0 or (self._is_answering and not is_unread):
            soon = min(left, REQUEST_SECONDS) if left > 0 else REQUEST_SECONDS
            self._timer = self._loop.call_later(soon, self._look_at_time)
        elif is_unread:
            self._transport.abort()
        elif self._in_request:
            too_slow = BadRequest("BodyTooSlow", _LATE, 408)
            self._end_after(self._request(too_slow) if self._is_body else _HEAD_TOO_SLOW)
            self._answer_on()
        else:
            self._transport.close()


def _too_large() -> BadRequest:
    return BadRequest(
        "BodyTooLarge", f"the body may have {LARGEST_BODY} bytes: send fewer items", 413
    )
