"""A release in a file, for replicas outside Kubernetes and for a mounted ConfigMap."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 0.01  # a twentieth of what bringing in a delta takes


class FileRelease:
    """Looks at one path; writers replace the file by renaming a complete one over it."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self._path = path

    async def follow(self, deliver: Callable[[bytes], None]) -> None:
        """See Follower."""
        seen: tuple[int, int] | None = None
        known: bytes | None = None
        trouble = ""
        while True:
            try:
                told = self._path.stat()
                mark = (told.st_ino, told.st_mtime_ns)
                if mark != seen:  # else it need not be read
                    document = self._path.read_bytes()
                    seen = mark
                    if document != known:
                        known = document
                        deliver(document)
                trouble = ""
            except OSError as error:
                # A release that is not there yet is how every replica begins.
                if str(error) != trouble:
                    log.warning("the release file cannot be read: %s", error)
                trouble = str(error)
            await asyncio.sleep(LOOK_EVERY_SECONDS)
