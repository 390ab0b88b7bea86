"""Spans as values, and where they are in a trace.

All that becomes of one version belongs to one trace, whoever tells of it: its id and that of its
first span are cut from the digest of the version's manifest, which trainer and servers know anyhow,
so nothing has to be carried from one to the other.

    trainer   publish ──► seal, write, announce        id of trace: digest[:16], of publish: [16:24]
    server      └──► load ──► first answer             their own ids are random
"""

from __future__ import annotations

import random
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millstream_api.manifest import VersionRef

NOTHING: Final[Mapping[str, str | int | float | bool]] = MappingProxyType({})


class Place(NamedTuple):
    """One span among all."""

    trace: int  # 128 bits
    span: int  # 64 bits


class Span(NamedTuple):
    """Something that took time."""

    name: str
    place: Place
    parent: Place | None
    start: float  # Unix seconds
    end: float
    attributes: Mapping[str, str | int | float | bool] = NOTHING
    is_request: bool = False  # of a caller, rather than something within
    has_failed: bool = False


def place_of(version: VersionRef) -> Place:
    """Where the publishing of a version is: the first span of its trace.

    The digest is a SHA-256 of what no other version says alike, so two versions share a trace by
    chance of one in 2^128, as if ids were random; and sampling by id, as collectors do, takes all
    spans of a version or none. Ids of zeros, which are no ids, are as unlikely.
    """
    return Place(int(version.digest[:32], 16), int(version.digest[32:48], 16))


def somewhere() -> Place:
    """A new trace."""
    return Place(_random_id(128), _random_id(64))


def within(parent: Place) -> Place:
    """A new place in the trace of another."""
    return Place(parent.trace, _random_id(64))


def _random_id(bits: int) -> int:
    return random.getrandbits(bits) or 1
