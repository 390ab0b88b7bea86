"""The ledger in the store: entries with consecutive numbers, each created once and never changed.

Who reads asks for the number after the last one known until there is none: one request when
nothing is new, which is nearly always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import ValidationError

from millstream_api.erasure import Erasure, Salt
from millstream_core.erasure.ledger import Ledger
from millstream_core.store import (
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    StoreUnavailable,
)
from millstream_core.store.layout import SALT, erasure_key
from millstream_core.store.objects import DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream_api.erasure import Subject
    from millstream_core.store import ModelStore

NOBODY: Final = Ledger()  # was ever erased
TRIES: Final = 64  # at a number that others take at the same time


def read_ledger(store: ModelStore, known: Ledger = NOBODY) -> Ledger:
    """All entries that there are.

    Args:
        store: of the model.
        known: what was read before; returned itself where nothing is new.

    Raises:
        IntegrityError: an entry cannot be read. Whoever went on without it would use what was
            erased.
        StoreError: the store did not do its part.
    """
    found: list[Erasure] = []
    while (entry := _entry(store, known.seq + len(found) + 1)) is not None:
        found.append(entry)
    if not found:
        return known
    return (known if known.salt else Ledger(_salt(store))).extended(found)


def begin_ledger(store: ModelStore, salt: bytes) -> Ledger:
    """The ledger, begun with this salt if it is empty, so that keys can be hashed.

    Args:
        store: of the model.
        salt: 32 random bytes.
    """
    try:
        store.objects.put(SALT, Salt(salt=salt.hex()).canonical(), if_absent=True)
    except PreconditionFailed:
        salt = _salt(store)
    return read_ledger(store, Ledger(salt))


def record(
    store: ModelStore,
    ledger: Ledger,
    action: Literal["erase", "lift"],
    subject: Subject,
    keys: Sequence[int],
    *,
    at: float,
    reason: str,
) -> Ledger:
    """Enter keys; returns the ledger with this entry and those of others that came first."""
    for _ in range(TRIES):
        entry = Erasure(
            seq=ledger.seq + 1,
            action=action,
            subject=subject,
            keys=tuple(ledger.hashed(subject, key) for key in keys),
            at=at,
            reason=reason,
        )
        try:
            store.objects.put(erasure_key(entry.seq), entry.canonical(), if_absent=True)
        except PreconditionFailed:
            ledger = read_ledger(store, ledger)
            continue
        return ledger.extended([entry])
    raise StoreUnavailable(f"others entered {TRIES} erasures in a row")


def _entry(store: ModelStore, seq: int) -> Erasure | None:
    try:
        data = store.objects.get(erasure_key(seq), DOCUMENT_BYTES).data
    except ObjectMissing:
        return None
    try:
        entry = Erasure.parse(data)
    except ValidationError as error:
        raise IntegrityError("Malformed", f"erasure {seq} cannot be read: {error}") from error
    if entry.seq != seq:
        raise IntegrityError("Malformed", f"erasure {seq} calls itself {entry.seq}")
    return entry


def _salt(store: ModelStore) -> bytes:
    try:
        return bytes.fromhex(Salt.parse(store.objects.get(SALT, DOCUMENT_BYTES).data).salt)
    except ObjectMissing as error:
        raise IntegrityError("Truncated", "the salt of the erasures is gone: restore it") from error
    except ValidationError as error:
        raise IntegrityError(
            "Malformed", f"the salt of the erasures cannot be read: {error}"
        ) from error
