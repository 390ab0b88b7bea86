"""Documents of a request to be forgotten: who was erased, what versions became, what was proved.

    erasure/salt ──► erasure/1, 2, 3 …   the ledger: every key erased, and lifted, as hashes
    <lineage>/redactions ──► redacted/…   what each version reads as since, under the same name

None of them holds a key. A hash is of 256 bits and keyed by the model's salt, so it tells nothing
to whoever sees one without the salt; with the salt and a guess of the key it can be compared.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millstream_api.manifest import FORMAT_VERSION, Lineage, Sha256
from millstream_api.wire import Wire

Subject = Literal["user", "item"]  # whose key it is, as the transform names their tables
Seq = Annotated[int, Field(ge=0)]


class Salt(Wire):
    """What a model's hashes of keys are made with; drawn once."""

    salt: str = Field(pattern=r"^[0-9a-f]{64}$")


class HashedKey(Wire):
    """A key, told again by whoever meets it and by nobody else."""

    tag: int = Field(ge=0, lt=1 << 32)  # cheap to compute: finds the few keys worth hashing
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")


class Erasure(Wire):
    """One entry of the ledger, created once; its number says what came first."""

    format_version: int = FORMAT_VERSION
    seq: int = Field(ge=1)
    action: Literal["erase", "lift"]
    subject: Subject
    keys: tuple[HashedKey, ...]
    at: float  # Unix seconds of the store's clock
    reason: str = ""


class Redactions(Wire):
    """What the versions of a lineage read as since keys were erased; moved by compare-and-swap.

    All of them change in one step, so no reader meets a version that is redacted upon one that
    is not.
    """

    format_version: int = FORMAT_VERSION
    seq: Seq = 0  # of the ledger; every version in `versions` is without the keys erased up to it
    versions: dict[Sha256, Sha256] = Field(default_factory=dict)  # manifest -> redacted manifest
    # Counted by collectors, so that an attempt begun before one of them cannot be swapped in.
    swept: int = Field(default=0, ge=0, exclude_if=lambda swept: swept == 0)


class RedactedLineage(Wire):
    """What was done to the versions of one lineage."""

    lineage: Lineage
    versions: int  # that read otherwise now, if only as of a later erasure
    unreadable: int  # versions that nobody can read: what they hold stays until they are collected
    rows: int  # removed, of tables and of what waits for a row
    tombstones: int
    histories: int  # rows that named an erased item
    candidates: int  # mentions among the popular and the new items
    golden: int = 0  # golden events of it
    objects: int  # written anew
    shortcuts: int  # dropped: the next compaction makes them anew
    removed: int  # objects that held a key, gone for good


class Search(Wire):
    """What was looked through for a key, and how."""

    objects: int
    bytes: int
    parsed: int  # objects read as lists of keys, of whatever kind, and compared exactly
    raw: int  # objects searched for the key's eight bytes, or its digits; 0: the key is too small
    found: tuple[str, ...]  # objects that still hold a key


class ErasureReport(Wire):
    """The answer to a request to be forgotten."""

    format_version: int = FORMAT_VERSION
    model: str
    subject: Subject
    action: Literal["erase", "lift"]
    seq: Seq  # of the ledger, as of which this holds
    keys: tuple[Sha256, ...]  # hashes, in the order in which the keys were given
    began_at: float  # Unix seconds of the store's clock
    ended_at: float
    lineages: tuple[RedactedLineage, ...] = ()
    search: Search | None = None  # None: a lift proves nothing
    stays: tuple[str, ...] = ()  # what an erasure cannot take back
