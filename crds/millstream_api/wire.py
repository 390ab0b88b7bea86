"""The base of all wire formats: frozen, strict about what it knows, keeping what it does not.

A program of last month must be able to pass on a document of next month, so unknown fields are
kept; `format_version` in the documents that live long says when that is not enough.
"""

from __future__ import annotations

import hashlib
from typing import Any, Self

import orjson
from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """A frozen document with one canonical byte form."""

    model_config = ConfigDict(frozen=True, extra="allow")

    def canonical(self) -> bytes:
        """This document as canonical JSON: sorted keys, no spaces, UTF-8.

        Equal documents have equal bytes, so their digests can be compared. The form is that of
        RFC 8785 for the values used here (no floats beyond IEEE doubles, integers below 2^53).
        """
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)

    def fingerprint(self) -> str:
        """SHA-256 of the canonical form, 64 hex digits."""
        return hashlib.sha256(self.canonical()).hexdigest()

    @classmethod
    def parse(cls, data: bytes | str) -> Self:
        """Read a document; raises pydantic's ValidationError with the field that is wrong."""
        return cls.model_validate_json(data)

    def changed(self, **fields: Any) -> Self:
        """A copy with these fields replaced (validated)."""
        return type(self).model_validate({**self.model_dump(), **fields})
