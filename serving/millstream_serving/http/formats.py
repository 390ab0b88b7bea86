"""JSON and MessagePack: which of the two a request is in, and which its answer.

A body is in what its Content-Type says, and in JSON where it says nothing. The answer is in what
Accept prefers of the two, and in the format of the request where Accept does not care. Errors are
JSON always: whoever has to read one may be a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
import ormsgpack

from millstream_serving.http.refusals import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Format:
    """One way to write a document as bytes."""

    name: str
    content_type: str
    malformed: str  # the reason where bytes are no document
    decode: Callable[[Any], Any]  # raises ValueError
    encode: Callable[[Any], bytes]

    def read(self, data: bytes | str, what: str = "the body") -> Any:
        """The document in these bytes; raises BadRequest, which says what was read."""
        try:
            return self.decode(data)
        except ValueError as error:
            raise BadRequest(self.malformed, f"{what} is not {self.name}: {error}") from error


# A list of two around the body and this: bytes behind the first document would stand in its place.
_BEGIN: Final = b"\x92"
_END: Final = "the end of the body"
_PACKED_END: Final = ormsgpack.packb(_END)


def _unpack(body: bytes) -> Any:
    # ormsgpack bounds nesting, reserves nothing for a length that the bytes do not bear out, and
    # has no value for an extension type; but it does not look behind the document.
    document, end = ormsgpack.unpackb(b"".join((_BEGIN, body, _PACKED_END)))
    if end != _END:
        raise ValueError("there are bytes behind the document")
    return document


JSON: Final = Format("JSON", "application/json", "MalformedJson", orjson.loads, orjson.dumps)
MSGPACK: Final = Format(
    "MessagePack", "application/msgpack", "MalformedMessagePack", _unpack, ormsgpack.packb
)
# The registered name of MessagePack is the second; most programs send the first or the third.
BY_TYPE: Final = {
    JSON.content_type: JSON,
    MSGPACK.content_type: MSGPACK,
    "application/vnd.msgpack": MSGPACK,
    "application/x-msgpack": MSGPACK,
}
_ANY: Final = frozenset({"*/*", "application/*"})


def format_of_body(content_type: str | None) -> Format:
    """What a body is in; raises BadRequest for what is not read here."""
    if content_type is None or content_type == JSON.content_type:
        return JSON
    found = BY_TYPE.get(_media(content_type))
    if found is None:
        raise BadRequest(
            "UnknownContentType",
            f"a body of type {content_type[:64]!r} is not read here: send "
            f"{JSON.content_type} or {MSGPACK.content_type}",
            415,
        )
    return found


def must_be_json(content_type: str | None) -> None:
    """Refuse whatever says that it is no JSON; raises BadRequest."""
    if content_type is not None and BY_TYPE.get(_media(content_type)) is not JSON:
        raise BadRequest(
            "UnknownContentType",
            f"a body of type {content_type[:64]!r} is not read here: send {JSON.content_type}",
            415,
        )


def format_of_answer(accept: str | None, otherwise: Format) -> Format:
    """What to answer in: what is liked best, the first of equals.

    Args:
        accept: the header.
        otherwise: where the header is absent, takes anything, or names nothing that we write.
    """
    if accept is None or accept == "*/*":
        return otherwise
    best, liked = otherwise, 0.0
    for each in accept.split(","):
        media = _media(each)
        found = otherwise if media in _ANY else BY_TYPE.get(media)
        if found is not None and (much := _quality(each)) > liked:
            best, liked = found, much
    return best


def _media(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _quality(value: str) -> float:
    for parameter in value.split(";")[1:]:
        name, _, number = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(number)
            except ValueError:
                return 0.0
    return 1.0
