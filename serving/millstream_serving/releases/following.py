"""Following a release, wherever it is: the seam, and how its bytes become a value.

A follower runs for the life of the process and hands over every document that it can read. One
that it cannot read is logged and leaves the last one standing: a replica is never worse off for
having looked.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pydantic import ValidationError

from millstream_api.release import Release
from millstream_serving.releases.files import FileRelease
from millstream_serving.releases.kube import KubeRelease, in_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Follower(Protocol):
    """A place that a release is read from."""

    async def follow(self, deliver: Callable[[bytes], None]) -> None:
        """Hand over the document now and after every change, until cancelled."""


def follower_for(address: str) -> Follower:
    """The follower for `kube:<namespace>/<config map>` or `file:<path>`.

    Raises:
        ValueError: neither of the two.
    """
    kind, _, place = address.partition(":")
    namespace, _, name = place.partition("/")
    if kind == "file" and place:
        return FileRelease(Path(place))
    if kind == "kube" and namespace and name and "/" not in name:
        return KubeRelease(in_cluster(), namespace, name)
    raise ValueError(
        f"cannot follow a release at {address!r}: "
        "write kube:<namespace>/<config map> or file:<path>"
    )


def read_release(document: bytes) -> Release | None:
    """The release in a document; None, and a line in the log, where it cannot be read."""
    try:
        return Release.parse(document)
    except ValidationError as error:
        log.warning("the release cannot be read and the last one stays in force: %s", error)
        return None
