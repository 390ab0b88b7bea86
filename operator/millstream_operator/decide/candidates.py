"""Which published version comes next, and on which lane.

    latest ► parent ► … ► quarantined ► parent ► … ► stable
    └── stands on a quarantined version ──┘└─ may be next ─┘

A version is never next when it, or anything it was learned on, was taken back. Of the others
between stable and the newest, the newest goes next; those it passes over are superseded. A
version that does not descend from stable is another line of learning: it may be next too (a
trainer that began anew), on the base lane, unless its line is blocked or older than stable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream_api.conditions import Reason
from millstream_operator.decide.observed import Finding

if TYPE_CHECKING:
    from collections.abc import Collection

    from millstream_api.manifest import VersionRef
    from millstream_api.recserving import Lane
    from millstream_operator.decide.observed import Published, StoreView


@dataclass(frozen=True)
class Next:
    """The version to bring to users next, or why there is none."""

    version: Published | None
    why: Finding
    lane: Lane = "Base"
    passed_over: tuple[VersionRef, ...] = ()  # newest first


def decide_next(store: StoreView, stable: VersionRef | None, quarantined: Collection[str]) -> Next:
    """The version that goes next.

    Args:
        store: what is published.
        stable: what users get now.
        quarantined: digests that were taken back.
    """
    if store.latest is None:
        return Next(None, store.health)
    latest = store.latest.ref
    if stable is not None and (
        latest == stable or (latest.lineage == stable.lineage and latest.version < stable.version)
    ):
        return Next(None, Finding(Reason.AS_ASKED, f"version {stable.version} is the newest"))

    line = store.ancestry
    digests = [published.ref.digest for published in line]
    descends = stable is not None and stable.digest in digests
    newer = line[: digests.index(stable.digest)] if stable is not None and descends else line
    blocked = [
        index for index, published in enumerate(newer) if published.ref.digest in quarantined
    ]
    # Behind a bad version of a foreign line there may be any old one.
    foreign = stable is not None and not descends
    if blocked and (foreign or blocked[-1] + 1 == len(newer)):
        culprit = newer[blocked[0]].ref
        told = (
            f"version {latest.version} was taken back"
            if culprit == latest
            else f"version {latest.version} was learned on version {culprit.version}, which was"
            " taken back"
        )
        return Next(
            None,
            Finding(Reason.LINEAGE_BLOCKED, f"{told}; waiting for one that was learned without it"),
        )

    position = blocked[-1] + 1 if blocked else 0
    chosen = newer[position]
    known = line[digests.index(stable.digest)] if stable is not None and descends else None
    same_kind = (
        known is not None
        and known.transform == chosen.transform
        and known.architecture == chosen.architecture
    )
    return Next(
        chosen,
        Finding(Reason.NEW_VERSION_DETECTED, f"version {chosen.ref.version} was published"),
        "Delta" if same_kind else "Base",
        tuple(published.ref for published in newer[position + 1 :]) if descends else (),
    )
