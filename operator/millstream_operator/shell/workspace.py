"""What both reconcilers work with: one of each seam to the world, and who may pull images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_operator.shell.api import ApiClient
    from millstream_operator.shell.cache import ObjectCache
    from millstream_operator.shell.children import ChildWriter
    from millstream_operator.shell.credentials import CredentialReader
    from millstream_operator.shell.events import EventRecorder
    from millstream_operator.shell.metrics import Metrics
    from millstream_operator.shell.parents import StatusWriter
    from millstream_operator.shell.pods import PodReader
    from millstream_operator.shell.store import StoreReader


@dataclass(frozen=True)
class Images:
    """Images of the programs where a spec names none."""

    trainer: str
    server: str


@dataclass(frozen=True)
class Workspace:
    """The seams, shared by all reconciles."""

    api: ApiClient
    cache: ObjectCache
    children: ChildWriter
    statuses: StatusWriter
    pods: PodReader
    stores: StoreReader
    credentials: CredentialReader
    events: EventRecorder
    metrics: Metrics
    images: Images
    wall: Callable[[], float]  # Unix seconds
