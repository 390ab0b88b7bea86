"""The transform: how raw ids become keys, as one content-addressed document.

Trainer and server both run this code, and a version names the document's digest, so a server
that would turn ids into other keys than the trainer did refuses the version instead.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import xxhash
from pydantic import Field

from millstream_api.features import Feature
from millstream_api.wire import Wire

PAD: Final = -(2**63)  # no id: fills histories that are shorter than their row
_LAST: Final = 2**63 - 1


class Transform(Wire):
    """The features of a model. Its digest is `fingerprint()`."""

    format_version: int = 1
    ids: Literal["int64-or-xxh64"] = "int64-or-xxh64"  # see key_of
    user_table: str = "user"
    item_table: str = "item"
    history_table: str = "history"
    history_length: int
    features: tuple[Feature, ...] = Field(default=(), exclude_if=lambda listed: not listed)

    def subject_of(self, table: str) -> str:
        """Whose keys the rows of a table have: `user`, `item`, or the table's own name."""
        if table in {self.user_table, self.history_table}:
            return "user"
        return "item" if table == self.item_table else table


def key_of(value: int | str) -> int:
    """The 64-bit key of an id.

    Integers, also written as decimal strings, are their own keys; any other string is hashed
    (xxh64 of its UTF-8 bytes, read as a signed number).

    Raises:
        ValueError: an integer outside the 64-bit range, or the one value that means "no id".
    """
    if isinstance(value, str):
        number = _decimal(value)
        if number is None:
            return int(np.uint64(xxhash.xxh64_intdigest(value.encode())).astype(np.int64))
        value = number
    if not PAD < value <= _LAST:
        raise ValueError(f"id {value} is outside the range of 64-bit keys: send it as other text")
    return value


def _decimal(text: str) -> int | None:
    """The integer that this text is the canonical form of, so that 007 and 7 stay two ids."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and text != "0"):
        return None
    return int(text) if len(digits) <= 20 else None
