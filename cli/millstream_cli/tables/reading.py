"""From a version in the store to the census of its tables."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from millstream_api.manifest import Group
from millstream_api.upkeep import Lease
from millstream_core.census import TableCensus, Told, count_table, count_waiting
from millstream_core.checkpoint import (
    find_way,
    leg_tables,
    live_rows,
    merged,
    read_memory,
    read_whole,
    remembering,
    specs_of,
)
from millstream_core.checkpoint.routes import table_bytes
from millstream_core.store import AccessDenied, IntegrityError
from millstream_core.upkeep.leases import hold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from millstream_api.manifest import Table, VersionRef
    from millstream_core.census import Question
    from millstream_core.checkpoint import Leg
    from millstream_core.store import ModelStore

log = logging.getLogger(__name__)

GROUPS: Final = get_args(Group)
LEASE_SECONDS: Final = 3600.0


class Fetched(Told):
    """What was read for a census."""

    legs: int  # steps of the way to the version
    bytes: int  # of rows, and of what is remembered of keys that wait


class VersionContents(Told):
    """What is in the tables of one version."""

    model: str
    lineage: str
    version: int
    digest: str  # of the manifest
    kind: str
    created_at: float  # Unix seconds
    step: int
    as_of: float | None  # event time of the newest event learned, Unix seconds
    fetched: Fetched
    tables: tuple[TableCensus, ...]


@dataclass(frozen=True)
class Reader:
    """Who reads, from where."""

    store: ModelStore
    pool: Executor  # fetches in parallel
    token: str  # of this process, unlike that of any other


def read_contents(
    reader: Reader, ref: VersionRef, names: Sequence[str], question: Question
) -> VersionContents:
    """Read tables of a version and count what is in them; one table is in memory at a time.

    The version is leased meanwhile, so that nobody collects it. Credentials that may only read
    cannot do that: then it is read without, and may be gone before the end, which is noticed.

    Args:
        reader: who reads.
        ref: the version.
        names: of its tables.
        question: what is asked about each.

    Raises:
        IntegrityError: the version is damaged.
        StoreError: the store did not do its part.
    """
    store = reader.store
    lease = Lease(holder=f"millstream-{reader.token}", versions=(ref,), seconds=LEASE_SECONDS)
    with ExitStack() as held:
        try:
            held.enter_context(hold(store, f"tables-{reader.token}", lease))
        except AccessDenied as error:
            log.warning("version %s is read without a lease: %s", ref, error)
        _, legs = find_way(store, ref, held=(), groups=GROUPS)
        try:
            return _contents(reader, legs, names, question)
        except IntegrityError as error:
            if not store.look_again(ref.lineage) and all(leg.shortcut is None for leg in legs):
                raise
            log.warning("the way to version %s fails, going by steps: %s", ref, error)
            _, legs = find_way(store, ref, held=(), groups=GROUPS, shortcuts=False)
            return _contents(reader, legs, names, question)


def _contents(
    reader: Reader, legs: Sequence[Leg], names: Sequence[str], question: Question
) -> VersionContents:
    store, ref, manifest = reader.store, legs[0].target, legs[0].manifest
    links = [link for _, link in store.ancestry(ref, manifest.chain.length + 1)]
    now = max((link.watermark.last for link in links if link.watermark), default=None)
    tables, fetched = [], 0
    for name in names:
        described = manifest.tables[name]
        parts = [rows for _, rows in read_whole(store, reader.pool, legs, name)]
        live = live_rows(specs_of(described.columns), merged(parts))
        fetched += sum(_size(leg_tables(store, leg)[name]) for leg in legs)
        waiting = []
        for memory in sorted(manifest.admission):
            if memory.startswith(f"{name}."):
                rows = read_memory(store, reader.pool, links, memory)
                fetched += sum(_size(link.admission[memory]) for link in remembering(links, memory))
                remembered = live_rows(specs_of(manifest.admission[memory].columns), rows)
                waiting.append(count_waiting(memory.removeprefix(f"{name}."), remembered))
        tables.append(count_table(name, described, live, tuple(waiting), now, question))
    return VersionContents(
        model=manifest.model,
        lineage=ref.lineage,
        version=ref.version,
        digest=ref.digest,
        kind=manifest.kind,
        created_at=manifest.created_at,
        step=manifest.step,
        as_of=now,
        fetched=Fetched(legs=len(legs), bytes=fetched),
        tables=tuple(tables),
    )


def _size(table: Table) -> int:
    """Bytes of a table's objects in all groups."""
    return sum(table_bytes({"": table}).values())
