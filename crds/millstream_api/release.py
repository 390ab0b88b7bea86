"""The release: which versions a RecServing's replicas hold, and which one each user gets.

The operator writes it, servers follow it; nothing else passes between the two. Batches are cut
by hash alone, so every replica, and anybody with `crds/batch-vectors.json`, computes the same.
"""

from __future__ import annotations

from typing import Literal

import xxhash
from pydantic import Field

from millstream_api.manifest import Sha256, VersionRef
from millstream_api.wire import Wire

Mode = Literal["Steady", "Shadow", "Gray", "Pinned"]


class Release(Wire):
    """One routing decision; a higher epoch always replaces a lower one."""

    epoch: int = Field(default=0, ge=0)
    salt: str = ""
    stable: VersionRef | None = None
    candidate: VersionRef | None = None
    batches: int = Field(default=10, ge=1, le=100)
    advanced: int = Field(default=0, ge=0)  # batches that get the candidate
    hold: tuple[VersionRef, ...] = ()  # promoted before stable, kept warm, newest first
    quarantined: tuple[Sha256, ...] = ()
    mode: Mode = "Steady"

    def wanted(self) -> tuple[VersionRef, ...]:
        """All versions that a replica must hold, in order of need, without repeats."""
        versions = (self.stable, self.candidate, *self.hold)
        return tuple(dict.fromkeys(version for version in versions if version is not None))


def batch_of(salt: str, user_id: str, batches: int) -> int:
    """The gray batch of a user: xxh64(salt + user_id) mod batches, over UTF-8 bytes."""
    return xxhash.xxh64_intdigest((salt + user_id).encode()) % batches


def assign(release: Release, user_id: str | None) -> tuple[VersionRef | None, int | None]:
    """The version and the batch of a request; a request without a user gets stable.

    Args:
        release: what is in force.
        user_id: the id as the request carries it.

    Returns:
        (version or None before the first release, batch or None without a user).
    """
    if user_id is None:
        return release.stable, None
    batch = batch_of(release.salt, user_id, release.batches)
    if release.candidate is not None and batch < release.advanced:
        return release.candidate, batch
    return release.stable, batch
