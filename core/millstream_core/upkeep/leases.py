"""What says that versions are in use or that somebody is at work, for so many seconds.

Expiry is reckoned on the store's own clock alone: an object is as old as the store says, and what
time it is now the store tells by the age of an object just written. No two machines' clocks are
compared (a reader whose clock is wrong would lose what it reads).
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from millstream_api.upkeep import Lease
from millstream_core.store import ObjectMissing, StoreError, StoreUnavailable
from millstream_core.store.layout import LEASES, lease_key
from millstream_core.store.objects import DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_core.store import ModelStore, ObjectStore

log = logging.getLogger(__name__)


@contextmanager
def hold(store: ModelStore, name: str, lease: Lease) -> Iterator[None]:
    """Keep versions from being collected while this lasts, or until the lease's seconds are over.

    Whoever reads on afterwards may find objects gone, which reading notices.
    """
    store.objects.put(lease_key(name), lease.canonical())
    try:
        yield
    finally:
        try:
            store.objects.delete(lease_key(name))
        except StoreError as error:
            log.warning("the lease %s is left to expire: %s", name, error)


def store_time(objects: ObjectStore, token: str) -> float:
    """Now, in Unix seconds of the store's clock."""
    key = f"probe/clock-{token}"
    objects.put(key, b"")
    listed = next(iter(objects.list(key)), None)
    if listed is None:  # this was held up, and it was swept as what a probe had left
        raise StoreUnavailable(f"{key} is gone, by which to tell the time: do this again")
    objects.delete(key)
    return listed.modified


def leases_in_force(objects: ObjectStore, now: float) -> dict[str, Lease]:
    """The leases in force by key; one that cannot be read is in force for nobody."""
    found = {}
    for listed in objects.list(LEASES):
        try:
            lease = Lease.parse(objects.get(listed.key, DOCUMENT_BYTES).data)
        except (ObjectMissing, ValidationError) as error:
            log.warning("the lease %s is passed over: %s", listed.key, error)
            continue
        if now <= listed.modified + lease.seconds:
            found[listed.key] = lease
    return found
