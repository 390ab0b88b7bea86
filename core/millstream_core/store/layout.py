"""Where everything of one model lies, as keys below <prefix>/<model>/, and back from keys.

    channel/<name>                          lease/<name>        collector
    transform/<sha256>                      erasure/salt        erasure/<20-digit seq>
    <lineage>/writer/<20-digit epoch>
    <lineage>/commit/<20-digit version>
    <lineage>/manifest/<version>-<sha256>.json
    <lineage>/data/<version>-<attempt>/…
    <lineage>/merged/<version>-<sha256>.json
    <lineage>/shortcuts
    <lineage>/redacted/<version>-<sha256>.json
    <lineage>/redactions

No other module spells these out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef

CHANNELS: Final = "channel/"
LEASES: Final = "lease/"
TRANSFORMS: Final = "transform/"
COLLECTOR: Final = "collector"
ERASURES: Final = "erasure/"
SALT: Final = f"{ERASURES}salt"
ERASED: Final = "erased."  # how attempts begin that write versions without erased keys

_COMMIT: Final = re.compile(r"([^/]+)/commit/(\d{20})")
_MANIFEST: Final = re.compile(r"([^/]+)/manifest/(\d+)-([0-9a-f]{64})\.json")
_FOLDER: Final = re.compile(r"([^/]+)/data/((\d+)-([^/]+))/.+")
_CLAIM: Final = re.compile(r"([^/]+)/writer/(\d{20})")
_MERGED: Final = re.compile(r"([^/]+)/merged/(\d+)-([0-9a-f]{64})\.json")
_REDACTED: Final = re.compile(r"([^/]+)/redacted/(\d+)-([0-9a-f]{64})\.json")
_LINEAGE: Final = re.compile(
    r"([^/]+)/(?:shortcuts|redactions|(?:writer|commit|manifest|data|merged|redacted)/.+)"
)


def lineage_of(key: str) -> str | None:
    """The lineage that an object belongs to."""
    found = _LINEAGE.fullmatch(key)
    return found[1] if found else None


def channel_key(name: str) -> str:
    """A named pointer."""
    return f"{CHANNELS}{name}"


def lease_key(name: str) -> str:
    """A reader's lease."""
    return f"{LEASES}{name}"


def transform_key(digest: str) -> str:
    """A transform document."""
    return f"{TRANSFORMS}{digest}"


def commits_below(lineage: str) -> str:
    """What the keys of all commits of a lineage begin with."""
    return f"{lineage}/commit/"


def commit_key(lineage: str, version: int) -> str:
    """The object that makes a version exist."""
    return f"{commits_below(lineage)}{version:020d}"


def manifest_key(ref: VersionRef) -> str:
    """A version's manifest."""
    return f"{ref.lineage}/manifest/{ref.version}-{ref.digest}.json"


def data_key(lineage: str, path: str) -> str:
    """An object of a version, by its path in a manifest."""
    return f"{lineage}/{path}"


def claims_below(lineage: str) -> str:
    """What the keys of all claims of a lineage begin with."""
    return f"{lineage}/writer/"


def claim_key(lineage: str, epoch: int) -> str:
    """The claim of a writer's epoch."""
    return f"{claims_below(lineage)}{epoch:020d}"


def merged_key(lineage: str, version: int, digest: str) -> str:
    """What a shorter way to a version holds."""
    return f"{lineage}/merged/{version}-{digest}.json"


def shortcuts_key(lineage: str) -> str:
    """The list of shorter ways in a lineage."""
    return f"{lineage}/shortcuts"


def erasure_key(seq: int) -> str:
    """An entry of the ledger of erased keys."""
    return f"{ERASURES}{seq:020d}"


def redactions_key(lineage: str) -> str:
    """What the versions of a lineage read as since keys were erased."""
    return f"{lineage}/redactions"


def redacted_key(lineage: str, version: int, digest: str) -> str:
    """The manifest that a version reads as since keys were erased from it."""
    return f"{lineage}/redacted/{version}-{digest}.json"


def commit_of(key: str) -> tuple[str, int] | None:
    """(lineage, version) of a commit's key."""
    found = _COMMIT.fullmatch(key)
    return (found[1], int(found[2])) if found else None


def manifest_of(key: str) -> tuple[str, int, str] | None:
    """(lineage, version, digest) of a manifest's key."""
    found = _MANIFEST.fullmatch(key)
    return (found[1], int(found[2]), found[3]) if found else None


def folder_of(key: str) -> tuple[str, int, str] | None:
    """(lineage, version, attempt) of a data object's key."""
    found = _FOLDER.fullmatch(key)
    return (found[1], int(found[3]), found[4]) if found else None


def is_of_erasure(key: str) -> bool:
    """Whether a key is of what versions read as since keys were erased, or of an attempt at it."""
    place = folder_of(key)
    return redacted_of(key) is not None or (place is not None and place[2].startswith(ERASED))


def claim_of(key: str) -> tuple[str, int] | None:
    """(lineage, epoch) of a claim's key."""
    found = _CLAIM.fullmatch(key)
    return (found[1], int(found[2])) if found else None


def merged_of(key: str) -> tuple[str, int, str] | None:
    """(lineage, version, digest) of a merged document's key."""
    found = _MERGED.fullmatch(key)
    return (found[1], int(found[2]), found[3]) if found else None


def redacted_of(key: str) -> tuple[str, int, str] | None:
    """(lineage, version, digest) of a redacted manifest's key."""
    found = _REDACTED.fullmatch(key)
    return (found[1], int(found[2]), found[3]) if found else None
