"""Which shorter ways are worth making: spans of a chain, and when a base.

Spans are blocks of 4, 16, 64 … versions, aligned by how far they are from the base, so that each
is made of at most four made before and every row is copied log4(k) times. Whoever is k versions
behind fetches at most three objects of each size: O(log k). With blocks of 2, half as many for
twice the copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from millstream_core.checkpoint.routes import FAN_OUT

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_api.upkeep import Shortcut
    from millstream_core.checkpoint import Leg

BASE_SHARE: Final = 0.5  # of a base's bytes that a chain on top of it may weigh


@dataclass(frozen=True)
class Span:
    """Versions of one chain that are to be joined."""

    since: VersionRef
    target: VersionRef
    steps: int


def plan_spans(
    chain: Sequence[tuple[VersionRef, Manifest]], known: Collection[Shortcut]
) -> list[Span]:
    """The spans that a chain lacks, small ones first since large ones are made of them.

    Args:
        chain: from its base to its newest version.
        known: the shortcuts that there are.
    """
    made = {(each.since.digest, each.target.digest) for each in known if each.since is not None}
    spans = []
    size = FAN_OUT
    while size < len(chain):
        for end in range(size, len(chain), size):
            span = Span(chain[end - size][0], chain[end][0], size)
            if (span.since.digest, span.target.digest) not in made:
                spans.append(span)
        size *= FAN_OUT
    return spans


def should_compact(legs: Sequence[Leg], share: float = BASE_SHARE) -> bool:
    """Whether the way from nothing to a version weighs too much on top of what it begins with.

    Args:
        legs: the cheapest way there is, newest first.
        share: of the bytes of its beginning that the rest may weigh.
    """
    *rest, first = legs
    groups = tuple(first.manifest.dense)
    return sum(leg.cost(groups) for leg in rest) > share * first.cost(groups)
