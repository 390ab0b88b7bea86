"""One collector at a time: a lock in the store, moved by compare-and-swap.

It saves work, no more: what makes deleting safe even when two collectors meet, one of them waking
up from a long pause, is the order of deletions (see `collecting`).
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from millstream_api.upkeep import CollectorLock
from millstream_core.store import ObjectMissing, PreconditionFailed, StoreError
from millstream_core.store.layout import COLLECTOR
from millstream_core.store.objects import DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_core.store import ObjectStore

LOCK_SECONDS: Final = 3600.0


class CollectorBusy(StoreError):  # noqa: N818 - named for what is the case
    """Another collector is at work, or died less than its time ago."""

    def __init__(self, lock: CollectorLock, until: float, now: float) -> None:
        super().__init__(
            f"{lock.holder} is collecting since less than {lock.seconds:.0f} s; if it is dead, its "
            f"lock ends in {until - now:.0f} s"
        )


@contextmanager
def collector_lock(objects: ObjectStore, holder: str, now: float) -> Iterator[None]:
    """Be the only collector of a model.

    Args:
        objects: below the model's prefix.
        holder: names the process, unlike any other.
        now: of the store's clock, see `store_time`.

    Raises:
        CollectorBusy: another one is.
    """
    before, etag = _read(objects)
    modified = next((each.modified for each in objects.list(COLLECTOR)), 0.0)
    if before is not None and now < modified + before.seconds:
        raise CollectorBusy(before, modified + before.seconds, now)
    epoch = 1 if before is None else before.epoch + 1
    mine = CollectorLock(holder=holder, epoch=epoch, seconds=LOCK_SECONDS)
    try:
        etag = objects.put(COLLECTOR, mine.canonical(), if_absent=etag is None, if_match=etag)
    except PreconditionFailed as error:
        raise CollectorBusy(mine, now + LOCK_SECONDS, now) from error
    try:
        yield
    finally:
        with suppress(StoreError):  # it ends by itself, or is another's already
            objects.put(COLLECTOR, mine.changed(seconds=0).canonical(), if_match=etag)


def _read(objects: ObjectStore) -> tuple[CollectorLock | None, str | None]:
    try:
        stored = objects.get(COLLECTOR, DOCUMENT_BYTES)
    except ObjectMissing:
        return None, None
    try:
        return CollectorLock.parse(stored.data), stored.etag
    except ValidationError:
        return None, stored.etag
