"""Where the live state stands in its lineage: what it descends from and what comes next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from millstream_api.manifest import Chain

if TYPE_CHECKING:
    from millstream_api.manifest import Manifest, VersionRef

# Versions that a quarantine may reach back: more than any rollout lets pile up.
ANCESTORS_KNOWN: Final = 512


@dataclass(frozen=True)
class Standing:
    """A place in a lineage."""

    next_version: int  # the number to try next: one more than the newest commit known
    writer_epoch: int  # of this process, claimed in the store
    parent: Manifest | None = None  # the version that the live state descends from
    parent_ref: VersionRef | None = None
    ancestors: tuple[str, ...] = ()  # digests of the parent and those before it, newest first

    def descends_from(self, quarantined: tuple[str, ...]) -> bool:
        """Whether the live state was built upon one of these manifests."""
        return not set(self.ancestors).isdisjoint(quarantined)

    def after(self, manifest: Manifest, ref: VersionRef) -> Standing:
        """Where the live state stands once this version of it is committed."""
        return replace(
            self,
            next_version=ref.version + 1,
            parent=manifest,
            parent_ref=ref,
            ancestors=(ref.digest, *self.ancestors)[:ANCESTORS_KNOWN],
        )

    def chain(self, version: int, own_bytes: int, *, is_base: bool) -> Chain:
        """The chain of the version that comes next, with so many bytes for servers of its own."""
        if is_base or self.parent is None:
            return Chain(base_version=version, length=0, bytes=0, base_bytes=own_bytes)
        before = self.parent.chain
        return Chain(
            base_version=before.base_version,
            length=before.length + 1,
            bytes=before.bytes + own_bytes,
            base_bytes=before.base_bytes,
        )
