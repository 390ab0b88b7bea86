"""What the operator tells a model's store: which version is stable, and which ones must stay.

    release of a RecServing ──► channel stable              for the trainer: where to go on from
                            └─► channel serving-<uid>       for the collector: what is still held

Several RecServings may serve one model. Whichever promoted last says what is stable, quarantines
add up, and each keeps its rollback points in a channel of its own, which goes when it goes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from millstream_api.manifest import Channel
from millstream_api.names import CHANNEL_STABLE

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_core.store import ModelStore

QUARANTINE_ANNOUNCED: Final = 64


@dataclass(frozen=True)
class Announcement:
    """What the store should say."""

    target: VersionRef | None  # None: no version has been good yet
    quarantined: tuple[str, ...]
    reason: str
    holder: str  # the channel that keeps what is retained
    retained: tuple[VersionRef, ...] = ()  # what a replica that starts anew has to fetch

    @property
    def digest(self) -> str:
        """Names this announcement, so that it is made once."""
        kept = (ref.digest for ref in self.retained)
        target = "" if self.target is None else self.target.digest
        text = "\n".join((target, *self.quarantined, "retained", *kept))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def holder_of(uid: str) -> str:
    """The name of the channel in which a RecServing keeps versions."""
    return f"serving-{uid}"


def announce(store: ModelStore, told: Announcement, actor: str, now: float) -> None:
    """Say what must stay, then what is stable; what others have quarantined stays so.

    Raises:
        StoreError: it could not be said, or only in part: say it again.
    """
    _retain(store, told, actor, now)
    known = store.channel(CHANNEL_STABLE)
    before, etag = known if known is not None else (None, None)
    others = () if before is None else before.quarantined
    merged = (*(each for each in others if each not in told.quarantined), *told.quarantined)
    merged = merged[-QUARANTINE_ANNOUNCED:]
    if before is not None and (before.target, before.quarantined) == (told.target, merged):
        return
    channel = Channel(
        target=told.target,
        previous=_before(before, told.target),
        reason=told.reason,
        actor=actor,
        moved_at=now,
        quarantined=merged,
    )
    store.move_channel(CHANNEL_STABLE, channel, etag=etag)


def _retain(store: ModelStore, told: Announcement, actor: str, now: float) -> None:
    known = store.channel(told.holder)
    before, etag = known if known is not None else (None, None)
    if before is not None and (before.target, before.retained) == (told.target, told.retained):
        return
    channel = Channel(
        target=told.target,
        reason=told.reason,
        actor=actor,
        moved_at=now,
        retained=told.retained,
    )
    store.move_channel(told.holder, channel, etag=etag)


def _before(channel: Channel | None, target: VersionRef | None) -> VersionRef | None:
    """What the channel pointed to before it came to this target."""
    if channel is None:
        return None
    return channel.previous if channel.target == target else channel.target
