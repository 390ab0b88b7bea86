"""Everything that can go wrong between a program and its model store.

    StoreError
    ├── StoreUnavailable     nobody answers, or answers 5xx: later may be better
    ├── AccessDenied         credentials or policy: a person has to act
    ├── ObjectMissing        the key does not exist
    ├── PreconditionFailed   lost a create-if-absent or a compare-and-swap
    ├── VersionTaken         another writer has committed this version number
    ├── WriterReplaced       a newer writer has claimed the lineage
    └── IntegrityError       bytes are not what the manifest says they are

Each message is one sentence fit for a condition or a log line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef

IntegrityReason = Literal[
    "DigestMismatch", "Truncated", "Oversized", "Malformed", "LineageBroken", "FormatTooNew"
]


class StoreError(Exception):
    """Root of all errors of the model store."""


class StoreUnavailable(StoreError):  # noqa: N818 - states read better than a row of ...Error
    """The store did not answer in time, or answered that it cannot serve now."""


class AccessDenied(StoreError):  # noqa: N818
    """The store refused the credentials or the action."""


class ObjectMissing(StoreError):  # noqa: N818
    """There is no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"the store has no object {key}")
        self.key = key


class PreconditionFailed(StoreError):  # noqa: N818
    """A conditional write lost against another writer."""

    def __init__(self, key: str) -> None:
        super().__init__(f"another writer changed {key} first")
        self.key = key


class VersionTaken(StoreError):  # noqa: N818
    """Another writer has committed this version number."""

    def __init__(self, existing: VersionRef, writer_epoch: int) -> None:
        super().__init__(
            f"version {existing.version} of lineage {existing.lineage} is already committed"
            f" by a writer of epoch {writer_epoch}"
        )
        self.existing = existing
        self.writer_epoch = writer_epoch


class WriterReplaced(StoreError):  # noqa: N818
    """A newer writer has claimed the lineage, so this one must stop."""

    def __init__(self, lineage: str, epoch: int, newer: int) -> None:
        super().__init__(
            f"a writer of epoch {newer} has claimed lineage {lineage}, newer than this writer's "
            f"epoch {epoch}"
        )


class IntegrityError(StoreError):
    """Bytes read are not the bytes that were promised; they must not be used."""

    def __init__(self, reason: IntegrityReason, message: str) -> None:
        super().__init__(message)
        self.reason: IntegrityReason = reason


def refuse_oversized(key: str, size: int, at_most: int | None) -> None:
    """Raise IntegrityError where an object has more bytes than it may."""
    if at_most is not None and size > at_most:
        raise IntegrityError("Oversized", f"{key} has {size} bytes, it may have {at_most}")
