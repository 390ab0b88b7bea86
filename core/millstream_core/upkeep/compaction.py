"""Making shorter ways: merged deltas and compacted bases, for versions that exist already.

    list of shortcuts ──► what is missing? ──► read, merge, write data ──► document ──► list

Nothing here changes what a version is: its reference, manifest and digests stay, and a compacted
base is another way to the same rows. So the work can be done twice, be broken off anywhere, or be
deleted, and readers notice nothing but bytes. Quantised rows are copied as they are stored, which
keeps them equal to the bit.

Idle time and memory of its own: a table of one version at a time, in memory once as read and once
as merged. The trainer's critical path is not touched.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from millstream_api.manifest import Group
from millstream_api.upkeep import Lease, Merged, Shortcut
from millstream_core.checkpoint import Folder, find_way, read_way, read_whole, write_rows
from millstream_core.checkpoint.routes import change_shortcuts, read_shortcuts, table_bytes
from millstream_core.erasure.entries import read_ledger
from millstream_core.store import IntegrityError, StoreUnavailable
from millstream_core.store.layout import merged_key
from millstream_core.tables.digest import EMPTY_STATE
from millstream_core.upkeep.leases import hold
from millstream_core.upkeep.planning import plan_spans, should_compact

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from millstream_api.manifest import Manifest, Shard, Table, VersionRef
    from millstream_core.checkpoint import Leg
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.store import ModelStore

log = logging.getLogger(__name__)

GROUPS: Final = get_args(Group)
LEASE_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Compactor:
    """Who makes shortcuts, of what, where."""

    store: ModelStore
    pool: Executor  # transfers in parallel
    token: str  # of this process, unlike that of any other
    producer: str  # build


def compact(compactor: Compactor, target: VersionRef) -> list[Shortcut]:
    """Make every shorter way that the chain of a version lacks; returns those made.

    Raises:
        IntegrityError: the chain cannot be read, or does not add up to what its writer says.
        StoreError: the store did not do its part; what was made until then stays.
    """
    store = compactor.store
    lease = Lease(holder=compactor.token, versions=(target,), seconds=LEASE_SECONDS)
    with hold(store, f"compactor-{compactor.token}", lease):
        chain = _chain(store, target)
        ledger = read_ledger(store)
        known = read_shortcuts(store, target.lineage)[0].entries
        made: list[Shortcut] = []
        for span in plan_spans(chain, known):
            made.append(_make(compactor, ledger, span.target, span.since, span.steps, len(made)))
        _, legs = find_way(store, target, held=(), groups=GROUPS)
        if should_compact(legs):
            made.append(_make(compactor, ledger, target, None, len(chain), len(made)))
        return made


def _chain(store: ModelStore, target: VersionRef) -> list[tuple[VersionRef, Manifest]]:
    length = store.manifest(target).chain.length
    chain = list(store.ancestry(target, length + 1))[::-1]
    if chain[0][1].kind != "base":
        raise IntegrityError("LineageBroken", f"version {target} does not lead back to a base")
    return chain


def _make(
    compactor: Compactor,
    ledger: Ledger,
    target: VersionRef,
    since: VersionRef | None,
    steps: int,
    number: int,
) -> Shortcut:
    store = compactor.store
    before = None if since is None else store.manifest(since)
    legs = _legs_between(store, since, target)
    path = f"data/{target.version}-merged.{compactor.token}.{number}"
    folder = Folder(store, compactor.pool, target.lineage, path)
    document = Merged(
        since=since,
        target=target,
        tables={
            name: _merge_table(compactor, folder, name, legs, before)
            for name in legs[0].manifest.tables
        },
        producer=compactor.producer,
    )
    digest = document.fingerprint()
    store.objects.put(merged_key(target.lineage, target.version, digest), document.canonical())
    shortcut = Shortcut(
        since=since,
        target=target,
        document=digest,
        steps=steps,
        bytes=table_bytes(document.tables),
    )
    if read_ledger(store, ledger) is not ledger:
        raise StoreUnavailable("keys were erased meanwhile, and rows read before may hold them")
    change_shortcuts(store, target.lineage, lambda entries: (*entries, shortcut))
    log.info("version %s is reached from %s in one step", target, since or "nothing")
    return shortcut


def _legs_between(store: ModelStore, since: VersionRef | None, target: VersionRef) -> list[Leg]:
    if since is None:
        return find_way(store, target, held=(), groups=GROUPS)[1]
    start, legs = find_way(store, target, held=(since,), groups=GROUPS)
    if start == since:
        return legs
    # All rows may be fewer bytes than what changed, but do not say which rows left.
    return find_way(store, target, held=(since,), groups=GROUPS, shortcuts=False)[1]


def _merge_table(
    compactor: Compactor, folder: Folder, name: str, legs: list[Leg], before: Manifest | None
) -> Table:
    """Join one table of all legs, newest first, and write it."""
    read = read_whole if before is None else read_way
    table = legs[0].manifest.tables[name]
    touched = 0
    shards: list[Shard] = []
    for buckets, rows in read(compactor.store, compactor.pool, legs, name):
        shards += write_rows(folder, name, table.columns, rows, buckets)
        touched += len(rows.keys)
    return table.changed(
        touched=touched,
        digest_before=EMPTY_STATE if before is None else before.tables[name].digest_after,
        shards=tuple(shards),
    )
