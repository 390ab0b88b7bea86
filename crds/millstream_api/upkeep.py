"""Small documents in the store that are no versions: who writes, who reads, shorter ways.

None of them says what a version is; that the manifest alone does. Whatever becomes of these, the
versions stay readable.
"""

from __future__ import annotations

from pydantic import Field

from millstream_api.manifest import FORMAT_VERSION, Group, Sha256, Table, VersionRef
from millstream_api.wire import Wire


class Claim(Wire):
    """A process that writes to a lineage, under an epoch of its own."""

    writer: str
    token: str  # of the process, unlike that of any other


class Lease(Wire):
    """Versions that a reader is at work on; they stay as long as it renews this."""

    holder: str
    versions: tuple[VersionRef, ...]
    seconds: float = Field(gt=0)  # from when the store took it: two clocks are never compared


class CollectorLock(Wire):
    """Who may delete; moved by compare-and-swap."""

    holder: str
    epoch: int = Field(ge=1)
    seconds: float = Field(ge=0)  # from when the store took it; 0: given back


class Merged(Wire):
    """The rows that lead from one version to a later one of its line, or from nothing to it.

    A row is as the later version has it; dense weights and everything else are in its manifest.
    """

    format_version: int = FORMAT_VERSION
    since: VersionRef | None  # None: from nothing, so all rows
    target: VersionRef
    tables: dict[str, Table]
    producer: str  # build that wrote it


class Shortcut(Wire):
    """A shorter way to a version: what a reader need not fetch step by step."""

    since: VersionRef | None
    target: VersionRef
    document: Sha256  # of the Merged
    steps: int = Field(ge=1)  # versions that it spares or joins
    bytes: dict[Group, int]  # of its objects


class Shortcuts(Wire):
    """All shorter ways in a lineage."""

    entries: tuple[Shortcut, ...] = ()
