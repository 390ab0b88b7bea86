"""From a release to who answers here: the part of a release that this replica can honour now.

    release arrives ──► its stable Ready? ── yes ─► in force: epoch counts, candidate gets batches
                                          └─ no ──► the stable before it goes on answering, or the
                                                    newest held version; the old epoch is reported

The operator moves a rollout on only when replicas report its epoch, so an epoch is reported when
every answer already follows it and not before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from millstream_api.release import Release, assign

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from millstream_api.manifest import VersionRef


@dataclass(frozen=True)
class Routing:
    """Who answers on this replica."""

    release: Release  # the newest one read
    epoch: int  # of the newest release that is wholly in force
    stable: VersionRef | None  # Ready here, or None: nothing can be answered
    candidate: VersionRef | None  # Ready here, or None: everybody gets stable
    reason: str

    def route(self, user_id: str | None) -> tuple[VersionRef | None, int | None]:
        """The version that answers this user and the user's batch; see release.assign."""
        version, batch = assign(self.release, user_id)
        if version is not None and version == self.candidate:
            return version, batch
        return self.stable, batch

    def needed(self) -> tuple[VersionRef, ...]:
        """The versions to hold, in order of need: the release's, and whoever stands in."""
        stand_in = () if self.stable is None else (self.stable,)
        return tuple(dict.fromkeys((*self.release.wanted(), *stand_in)))

    def role(self, digest: str) -> str:
        """What this version is to users: stable, candidate or previous."""
        if self.stable is not None and digest == self.stable.digest:
            return "stable"
        candidate = self.release.candidate
        if candidate is not None and digest == candidate.digest:
            return "candidate"
        return "previous"


NOWHERE = Routing(release=Release(), epoch=0, stable=None, candidate=None, reason="NoRelease")


def decide_routing(
    release: Release, ready: AbstractSet[str], previous: Routing | None = None
) -> Routing:
    """Who answers, given what is loaded.

    Args:
        release: the newest one read.
        ready: digests of the versions that can answer.
        previous: what holds until now.
    """
    before = previous or NOWHERE
    candidate = release.candidate
    if candidate is not None and candidate.digest not in ready:
        candidate = None
    if release.stable is None:
        return Routing(release, release.epoch, None, None, "NoVersion")
    if release.stable.digest in ready:
        return Routing(release, release.epoch, release.stable, candidate, "StableLoaded")

    stand_ins = [
        version
        for version in (before.stable, *release.hold)
        if version is not None and version.digest in ready
    ]
    # A quarantined version stands in only where nothing else could answer at all.
    stand_ins.sort(key=lambda version: version.digest in release.quarantined)
    if not stand_ins:
        return Routing(release, before.epoch, None, None, "StableNotLoaded")
    return Routing(release, before.epoch, stand_ins[0], None, "StandIn")


def is_newer(release: Release, known: Release | None) -> bool:
    """Whether a release that was just read replaces the one known: epochs only grow."""
    return known is None or release.epoch > known.epoch
