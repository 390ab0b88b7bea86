"""A release in a file, for replicas outside Kubernetes and for a mounted ConfigMap.

The kernel tells of changes in the file's folder (inotify), which costs nothing while there are
none; where it does not, as of files on other machines, the file is looked at now and then.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final

from asyncinotify import Inotify, Mask

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS: Final = 1.0  # where the kernel tells nothing
# A writer has renamed a file, or the link that a ConfigMap's files are behind; or written in place.
_CHANGES: Final = Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.CREATE


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
        with ExitStack() as open_ones:
            changes: Inotify | None = None
            try:
                changes = open_ones.enter_context(Inotify())
            except OSError as error:  # the kernel gives a user so many and no more
                log.warning(
                    "the release file is looked at every %g s only: %s", LOOK_EVERY_SECONDS, error
                )
            while True:
                if changes is not None:
                    with suppress(OSError):  # the folder is not there yet
                        changes.add_watch(self._path.parent, _CHANGES)  # if it is not watched
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
                await _next(changes)


async def _next(changes: Inotify | None) -> None:
    """Wait for a change, or for so long that there may have been one."""
    if changes is None:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_EVERY_SECONDS):
            await changes.get()
