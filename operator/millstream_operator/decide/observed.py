"""What a rollout is decided on: gathered by the shell, read by `decide.rollout`, never changed.

What could not be learned is a value here (a replica without report, a store that is away), not
an exception: no data is no verdict, and the decision has to say so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_api.recserving import RecServingStatus
    from millstream_api.release import Release
    from millstream_api.reports import ReplicaReport, Shadow, VersionState


@dataclass(frozen=True)
class Finding:
    """What was found, in the words of a condition."""

    reason: str
    message: str


@dataclass(frozen=True)
class Published:
    """What a rollout needs to know of one published version."""

    ref: VersionRef
    transform: str  # digest
    architecture: str  # digest
    watermark: float | None  # Unix seconds of the newest event it has learned


@dataclass(frozen=True)
class StoreView:
    """The model store as it was last read."""

    health: Finding
    reachable: bool | None  # None: nobody has looked yet
    ancestry: tuple[Published, ...] = ()  # channel latest first, then its parents up to stable
    asked: Published | None = None  # the version that a person asks for by number, if it is there

    @property
    def latest(self) -> Published | None:
        """The newest version published."""
        return self.ancestry[0] if self.ancestry else None


@dataclass(frozen=True)
class Replica:
    """One server pod."""

    name: str
    ready: bool
    report: ReplicaReport | None  # None: it did not answer
    restarts: int = 0
    problem: str = ""  # why its container does not run

    def state_of(self, ref: VersionRef) -> VersionState | None:
        """How this replica stands with a version; None where it did not say."""
        if self.report is None:
            return None
        return next((known for known in self.report.versions if known.ref == ref), None)

    def holds(self, ref: VersionRef) -> bool:
        """Whether this replica says that it can serve a version."""
        state = self.state_of(ref)
        return state is not None and state.state == "Ready"

    def refuses(self, ref: VersionRef) -> bool:
        """Whether this replica says that it will not serve a version."""
        state = self.state_of(ref)
        return state is not None and state.state == "Refused"

    def shadow_of(self, pair: tuple[str, str]) -> Shadow | None:
        """Its comparison of a candidate with stable, by digests; None before it has one."""
        shadow = None if self.report is None else self.report.shadow
        return shadow if shadow is not None and (shadow.candidate, shadow.stable) == pair else None


@dataclass(frozen=True)
class Observed:
    """One RecServing and its world at one moment."""

    uid: str
    status: RecServingStatus
    release: Release  # in force: what replicas follow
    replicas: tuple[Replica, ...] = ()
    wanted_replicas: int = 0
    store: StoreView = field(
        default_factory=lambda: StoreView(Finding("NotChecked", "not read yet"), reachable=None)
    )
    rollback_to: str | None = None  # the annotation as written

    @property
    def ready(self) -> tuple[Replica, ...]:
        """The replicas that get requests."""
        return tuple(replica for replica in self.replicas if replica.ready)

    @property
    def answering(self) -> tuple[Replica, ...]:
        """The replicas that say what they serve, ready or not."""
        return tuple(replica for replica in self.replicas if replica.report is not None)


def names_of(replicas: tuple[Replica, ...], limit: int = 5) -> str:
    """The replicas' names for a message, the first few of them."""
    names = sorted(replica.name for replica in replicas)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
