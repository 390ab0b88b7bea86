"""Manifests that were read lately, so that walking along a chain again costs no requests.

They are kept as they are written: read into objects they take eight times as much, which in a
server that meets a version a second came to more than all its tables. Their number is bounded by
their bytes, because a version of large tables names thousands of files.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from millstream_api.manifest import Manifest

BYTES_KEPT: Final = 8 << 20


class RecentManifests:
    """By the digest of what was read; safe to share between threads."""

    def __init__(self, bytes_kept: int = BYTES_KEPT) -> None:
        """Remember none.

        Args:
            bytes_kept: those used longest ago go where they are more together.
        """
        self._bytes_kept = bytes_kept
        self._documents: OrderedDict[str, tuple[type[Manifest], bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, digest: str) -> Manifest | None:
        """The manifest of this digest, where it is remembered."""
        with self._lock:
            if digest not in self._documents:
                return None
            self._documents.move_to_end(digest)
            kind, document = self._documents[digest]
        return kind.parse(document)

    def keep(self, digest: str, manifest: Manifest) -> None:
        """Remember a manifest."""
        document = manifest.canonical()
        with self._lock:
            if digest in self._documents:
                return
            self._documents[digest] = type(manifest), document
            self._bytes += len(document)
            while self._bytes > self._bytes_kept:
                _, (_, oldest) = self._documents.popitem(last=False)
                self._bytes -= len(oldest)
