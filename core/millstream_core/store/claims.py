"""Epochs of writers: each is claimed by one process, and only the highest may go on.

    writer/1 ◄── claim ── A      writer/2 ◄── claim ── B      A's next commit: replaced, stops

A claim is an object created if absent, so no two processes ever share an epoch, whatever their
clocks say. A lost reply does no harm: the object holds the process's token, and who finds its own
token in the highest claim goes on under it.

Why two live writers cannot damage a lineage. A writer commits number n only after it has seen
that the newest number taken is n - 1 and was taken under no higher epoch than its own, and a
number is taken once. By induction epochs never fall along the numbers: from the first commit of a
newer writer on, the store itself refuses every older one. Between the newer writer's claim and
that first commit, the older one is refused by looking at the claims before each commit. If it is
paused right between that look and its commit, one version of it can still come into being; the
look after the commit finds the claim, and the writer stops without announcing the version. That
version is whole and a leaf: the newer writer passes over its number and builds on its own parent,
so along any line of descent each event still counts once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_core.store.errors import PreconditionFailed, StoreUnavailable
from millstream_core.store.layout import claim_key, claim_of, claims_below
from millstream_core.store.objects import DOCUMENT_BYTES

if TYPE_CHECKING:
    from millstream_api.upkeep import Claim
    from millstream_core.store.objects import ObjectStore

TRIES: Final = 64  # at an epoch that others claim at the same time


def highest_claim(objects: ObjectStore, lineage: str) -> int:
    """The highest epoch claimed; 0 where there is none."""
    found = [claim_of(listed.key) for listed in objects.list(claims_below(lineage))]
    return max((claim[1] for claim in found if claim), default=0)


def claim_epoch(objects: ObjectStore, lineage: str, claim: Claim, above: int) -> int:
    """Claim an epoch higher than all others, or find the one that this process has claimed.

    Args:
        objects: below the model's prefix.
        lineage: to be written to.
        claim: names the process by a token that no other has.
        above: an epoch known to be taken, from the newest commit.

    Raises:
        StoreError: the store did not do its part; claiming again is harmless.
    """
    document = claim.canonical()
    for _ in range(TRIES):
        highest = highest_claim(objects, lineage)
        if (
            highest > above
            and objects.get(claim_key(lineage, highest), DOCUMENT_BYTES).data == document
        ):
            return highest
        epoch = max(highest, above) + 1
        try:
            objects.put(claim_key(lineage, epoch), document, if_absent=True)
        except PreconditionFailed:
            continue
        return epoch
    raise StoreUnavailable(f"other writers claimed {TRIES} epochs of {lineage} in a row")
