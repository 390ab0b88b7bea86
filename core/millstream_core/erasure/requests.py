"""A request to be forgotten, from the entry in the ledger to the proof.

    erase ──► ledger ──► lineages redacted ──► everything searched ──► report
    maintenance ──────► lineages redacted, where a crash or a late version left something to do

From the entry on, trainers and servers forget the keys by themselves; what is done here is to the
store alone. Every step can be repeated: a second run with the same keys enters nothing, goes on
where the first ended, and proves anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_api.erasure import ErasureReport
from millstream_core.erasure.entries import begin_ledger, read_ledger, record
from millstream_core.erasure.redacting import redact
from millstream_core.erasure.searching import Needle, search
from millstream_core.store.layout import data_key, folder_of, lineage_of
from millstream_core.upkeep.leases import store_time
from millstream_core.upkeep.locking import collector_lock
from millstream_core.upkeep.retention import paths_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from millstream_api.erasure import RedactedLineage, Subject
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.erasure.redacting import Redactor
    from millstream_core.store import ModelStore

ROUNDS: Final = 4  # until no version has come meanwhile that still holds a key

STAYS: Final = (
    "dense weights: what they learned from many users' events cannot be told apart",
    "cells of count-min sketches: sums over many keys, which name none",
    "rows that many keys share (multiHash), which are of none of them",
    "the event stream itself, and logs and backups outside this store",
    "the ledger's own hashes, by which the key is kept out",
)


def erase(
    redactor: Redactor,
    subject: Subject,
    keys: Sequence[int],
    *,
    model: str,
    salt: bytes,
    reason: str = "",
) -> ErasureReport:
    """Erase keys from everything that a model's store retains, and prove it.

    Args:
        redactor: does it; its token is also that of the lock.
        subject: whose keys.
        keys: 64-bit.
        model: its name, for the report.
        salt: 32 random bytes, used if this is the model's first erasure.
        reason: for the ledger; whoever may read the store reads it.

    Raises:
        CollectorBusy: maintenance is under way; the keys are in the ledger already.
        StoreError: the store did not do its part; run it again.
    """
    store = redactor.store
    began = store_time(store.objects, redactor.token)
    ledger = begin_ledger(store, salt)
    array = np.array(keys, np.int64)
    new = array[~ledger.blocked(subject, array)].tolist()
    if new:
        ledger = record(store, ledger, "erase", subject, new, at=began, reason=reason)
    with collector_lock(store.objects, f"erasing-{redactor.token}", began):
        done = _redact_all(redactor, ledger)
        needle = Needle(subject, array)
        found = search(store, redactor.pool, needle, store.objects.list(""))
        orphans = _orphans(store, found.found)
        for key in orphans:
            store.objects.delete(key)
    return ErasureReport(
        model=model,
        subject=subject,
        action="erase",
        seq=ledger.seq,
        keys=tuple(ledger.hashed(subject, key).hash for key in keys),
        began_at=began,
        ended_at=store_time(store.objects, redactor.token),
        lineages=tuple(
            each.changed(
                removed=each.removed + sum(lineage_of(key) == each.lineage for key in orphans)
            )
            for each in done
        ),
        search=found.changed(found=tuple(key for key in found.found if key not in orphans)),
        stays=STAYS,
    )


def lift(
    store: ModelStore,
    token: str,
    subject: Subject,
    keys: Sequence[int],
    *,
    model: str,
    salt: bytes,
    reason: str = "",
) -> ErasureReport:
    """Let keys be learned again, from events to come; what was erased does not come back."""
    began = store_time(store.objects, token)
    ledger = begin_ledger(store, salt)
    array = np.array(keys, np.int64)
    lifted = array[ledger.blocked(subject, array)].tolist()
    if lifted:
        ledger = record(store, ledger, "lift", subject, lifted, at=began, reason=reason)
    return ErasureReport(
        model=model,
        subject=subject,
        action="lift",
        seq=ledger.seq,
        keys=tuple(ledger.hashed(subject, key).hash for key in keys),
        began_at=began,
        ended_at=began,
    )


def finish(redactor: Redactor) -> tuple[RedactedLineage, ...]:
    """Take erased keys out of versions that still hold one; costs one request where none was.

    Raises:
        CollectorBusy: other maintenance is under way.
        StoreError: the store did not do its part; doing it again goes on.
    """
    store = redactor.store
    ledger = read_ledger(store)
    if not ledger:
        return ()
    now = store_time(store.objects, redactor.token)
    with collector_lock(store.objects, f"erasing-{redactor.token}", now):
        return _redact_all(redactor, ledger)


def _redact_all(redactor: Redactor, ledger: Ledger) -> tuple[RedactedLineage, ...]:
    """Every lineage, again while trainers publish what they had begun before the entry."""
    done: list[RedactedLineage] = []
    for turn in range(ROUNDS):
        keys = [each.key for each in redactor.store.objects.list("")]
        lineages = sorted({lineage for key in keys if (lineage := lineage_of(key))})
        found = [redact(redactor, ledger, lineage) for lineage in lineages]
        # What cannot be read stays so, and is told once.
        done += [each for each in found if each.versions or (each.unreadable and not turn)]
        if not any(each.versions for each in found):
            break
    return tuple(done)


def _orphans(store: ModelStore, found: Iterable[str]) -> list[str]:
    """Those of these objects that no version names, and none ever will.

    An attempt at a number that is taken can never become a version.
    """
    orphans = []
    for key in found:
        place = folder_of(key)
        if place is None:
            continue
        lineage, version, _ = place
        numbers = store.commits(lineage)
        if not numbers or version > numbers[-1]:
            continue  # may become one yet, and will then be redacted
        named = {
            data_key(lineage, path)
            for number in numbers
            for path in paths_in(store.manifest(store.resolve(lineage, number)))
        }
        if key not in named:
            orphans.append(key)
    return orphans
