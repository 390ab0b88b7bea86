"""Whether a store can be written to safely, found out before anything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_api.reports import StoreHealth
from millstream_core.store.errors import AccessDenied, PreconditionFailed, StoreError

if TYPE_CHECKING:
    from millstream_core.store.models import ModelStore
    from millstream_core.store.objects import ObjectStore


def probe(store: ModelStore, token: str) -> StoreHealth:
    """Find out whether a store answers and honours both kinds of conditional write.

    Args:
        store: of the model.
        token: names the probe object; one writer always uses its own.
    """
    objects, key = store.objects, f"probe/{token}"
    try:
        objects.delete(key)
        etag = objects.put(key, b"1", if_absent=True)
        ignored = _accepts(objects, key, if_absent=True)
        objects.put(key, b"2", if_match=etag)
        ignored = _accepts(objects, key, if_match=etag) or ignored
        objects.delete(key)
    except AccessDenied as error:
        return StoreHealth(ok=False, reason="AccessDenied", message=str(error))
    except StoreError as error:
        return StoreHealth(ok=False, reason="Unreachable", message=str(error))
    if ignored:
        return StoreHealth(
            ok=False,
            reason="ConditionsNotHonoured",
            message="the store overwrites in spite of If-None-Match or If-Match: two writers "
            "could both believe to have won; use a store that honours conditional writes",
        )
    return StoreHealth(ok=True, reason="Reachable")


def _accepts(
    objects: ObjectStore, key: str, *, if_absent: bool = False, if_match: str | None = None
) -> bool:
    try:
        objects.put(key, b"3", if_absent=if_absent, if_match=if_match)
    except PreconditionFailed:
        return False
    return True
