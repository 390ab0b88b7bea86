"""The narrow seam to object storage: five verbs, two of them conditional.

All policy (commit order, channels, verification) stands above it in `models.py`; everything that
knows S3 stands below it in `s3.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


DOCUMENT_BYTES: Final = 16 << 20  # of a manifest or another document; a shard is 500 in one


@dataclass(frozen=True)
class Stored:
    """An object as read: its bytes and the tag to name this state of it by."""

    data: bytes
    etag: str


@dataclass(frozen=True)
class Listed:
    """An object as listed."""

    key: str
    bytes: int
    modified: float  # Unix seconds of the store's own clock, whole ones with some stores


class ObjectStore(Protocol):
    """Keys to bytes, with create-if-absent and compare-and-swap; safe to share between threads.

    Every method raises StoreUnavailable or AccessDenied where the store does not do its part.
    """

    def get(self, key: str, at_most: int | None = None) -> Stored:
        """Read a whole object.

        Args:
            key: where.
            at_most: bytes that it may have; None: any number.

        Raises:
            ObjectMissing: there is none.
            IntegrityError: it is larger (Oversized); nothing of it was read.
        """

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """Write a whole object and return its tag.

        Args:
            key: where.
            data: what.
            if_absent: only if there is no such object.
            if_match: only if the object's tag still is this one.

        Raises:
            PreconditionFailed: a condition did not hold. A write whose reply was lost is read
                back first, so the answer is about this very write.
        """

    def list(self, prefix: str) -> Iterator[Listed]:
        """All objects whose keys start so, ascending by key."""

    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""


class Below:
    """An ObjectStore that sees only what lies below a prefix, by keys relative to it."""

    def __init__(self, objects: ObjectStore, root: str) -> None:
        """Nothing is read or written yet."""
        self._objects = objects
        self._root = f"{root}/"

    def get(self, key: str, at_most: int | None = None) -> Stored:
        """See ObjectStore."""
        return self._objects.get(self._root + key, at_most)

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """See ObjectStore."""
        return self._objects.put(self._root + key, data, if_absent=if_absent, if_match=if_match)

    def list(self, prefix: str) -> Iterator[Listed]:
        """See ObjectStore."""
        for listed in self._objects.list(self._root + prefix):
            yield replace(listed, key=listed.key.removeprefix(self._root))

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        self._objects.delete(self._root + key)
