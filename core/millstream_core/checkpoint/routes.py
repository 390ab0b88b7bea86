"""The shortest way to a version: which objects a reader has to fetch, and in which order.

    base ──► 1 ──► 2 ──► 3 ──► 4 ──► … ──► 16 ──► 17    one leg a version, or
    base ═════════════════════════════════► 16 ──► 17    rows merged over 4, 16, 64 … versions, or
                               nothing ═══► 16 ──► 17    all rows: a compacted base

Shorter ways are made beside the training (see `upkeep`) and listed in one object a lineage. The
list is a hint and nothing more: a shortcut is believed because the rows that it leads to have the
digest that the version's own manifest names, and who finds otherwise goes step by step.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from millstream_api.upkeep import Merged, Shortcut, Shortcuts
from millstream_core.store import (
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    StoreUnavailable,
)
from millstream_core.store.layout import merged_key, shortcuts_key
from millstream_core.store.objects import DOCUMENT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from millstream_api.manifest import Group, Manifest, Table, VersionRef
    from millstream_core.store import ModelStore

log = logging.getLogger(__name__)

FAN_OUT: Final = 4  # versions that the smallest shortcut joins
TRIES: Final = 5  # at a list that others change at the same time
LONGEST_WAY: Final = 1024  # legs: more than versions from one base to the next


@dataclass(frozen=True)
class Leg:
    """Rows that lead to a version from an earlier one, or from nothing."""

    target: VersionRef
    manifest: Manifest  # of the target
    since: VersionRef | None
    shortcut: Shortcut | None = None  # None: the version's own rows

    def cost(self, groups: Sequence[Group]) -> int:
        """Bytes to fetch of these groups."""
        dense = sum(
            self.manifest.dense[group].bytes for group in groups if group in self.manifest.dense
        )
        rows = (
            table_bytes(self.manifest.tables)
            if self.shortcut is None
            else dict(self.shortcut.bytes)
        )
        return dense + sum(rows.get(group, 0) for group in groups)


def find_way(
    store: ModelStore,
    ref: VersionRef,
    *,
    held: Iterable[VersionRef],
    stops: Iterable[VersionRef] = (),
    groups: Sequence[Group],
    shortcuts: bool = True,
) -> tuple[VersionRef | None, list[Leg]]:
    """The cheapest way to a version in bytes, from one that is held or from nothing.

    Args:
        store: where.
        ref: the version.
        held: versions to start from.
        stops: versions not to be passed by on the way, because they are wanted as well.
        groups: what is fetched of each leg.
        shortcuts: whether any may be taken.

    Returns:
        (the held version to start from, or None; the legs from there, newest first).

    Raises:
        IntegrityError: the version does not lead back to a base (LineageBroken), or a manifest
            on the way cannot be used.
    """
    known: dict[str, list[Shortcut]] | None = None if shortcuts else {}
    held = frozenset(held)
    levels = {stop.version for stop in (*stops, *held) if stop.lineage == ref.lineage}
    legs: list[Leg] = []
    whole: list[list[Leg]] = []  # ways that begin with all rows
    current = ref
    for _ in range(LONGEST_WAY):
        if current in held:
            return _cheapest(current, legs, whole, groups)
        manifest = _manifest(store, current)
        if manifest.kind == "base":
            own = Leg(current, manifest, None)
            return _cheapest(None, [*legs, own], whole, groups)
        if manifest.parent is None:
            break
        leg = Leg(current, manifest, manifest.parent)
        if manifest.parent not in held:
            floor = max((level for level in levels if level < current.version), default=0)
            # Nearer than that there is no shortcut, and the list would be read in vain.
            if known is None and current.version - floor >= FAN_OUT:
                known = _by_target(read_shortcuts(store, ref.lineage)[0])
            for shortcut in (known or {}).get(current.digest, ()):
                if shortcut.since is None:
                    whole.append([*legs, Leg(current, manifest, None, shortcut)])
                elif floor <= shortcut.since.version < (leg.since or current).version:
                    leg = Leg(current, manifest, shortcut.since, shortcut)
        legs.append(leg)
        assert leg.since is not None
        current = leg.since
    raise IntegrityError(
        "LineageBroken",
        f"version {ref.version} does not lead back to a base: {len(legs)} deltas",
    )


def _cheapest(
    start: VersionRef | None, legs: list[Leg], whole: list[list[Leg]], groups: Sequence[Group]
) -> tuple[VersionRef | None, list[Leg]]:
    def cost(way: list[Leg]) -> int:
        return sum(leg.cost(groups) for leg in way)

    best = min([legs, *whole], key=cost)  # of equal ones the first: the version's own rows
    return (start if best is legs else None), best


def _manifest(store: ModelStore, ref: VersionRef) -> Manifest:
    try:
        return store.manifest(ref)
    except ObjectMissing as error:
        raise IntegrityError(
            "LineageBroken", f"version {ref.version} is named but not there: {error}"
        ) from error


def _by_target(listed: Shortcuts) -> dict[str, list[Shortcut]]:
    found: dict[str, list[Shortcut]] = {}
    for entry in listed.entries:
        found.setdefault(entry.target.digest, []).append(entry)
    return found


def read_shortcuts(store: ModelStore, lineage: str) -> tuple[Shortcuts, str | None]:
    """The shorter ways of a lineage and the tag to change the list by (None: there is none)."""
    try:
        stored = store.objects.get(shortcuts_key(lineage), DOCUMENT_BYTES)
    except ObjectMissing:
        return Shortcuts(), None
    except IntegrityError as error:
        log.warning("the list of shortcuts of %s cannot be read: %s", lineage, error)
        return Shortcuts(), None
    try:
        return Shortcuts.parse(stored.data), stored.etag
    except ValidationError as error:
        log.warning("the list of shortcuts of %s cannot be read: %s", lineage, error)
        return Shortcuts(), stored.etag


def change_shortcuts(
    store: ModelStore, lineage: str, change: Callable[[tuple[Shortcut, ...]], tuple[Shortcut, ...]]
) -> None:
    """Change the list of shorter ways, if need be again after others did.

    Raises:
        StoreUnavailable: others change it all the time.
    """
    for _ in range(TRIES):
        listed, etag = read_shortcuts(store, lineage)
        entries = change(listed.entries)
        if entries == listed.entries:
            return
        data = listed.changed(entries=entries).canonical()
        try:
            store.objects.put(shortcuts_key(lineage), data, if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            continue
        return
    raise StoreUnavailable(f"the shortcuts of {lineage} were changed by others {TRIES} times")


def leg_tables(store: ModelStore, leg: Leg) -> Mapping[str, Table]:
    """What a leg holds, by table.

    Raises:
        IntegrityError: the shortcut is missing, altered or of another shape than its version.
    """
    if leg.shortcut is None:
        return leg.manifest.tables
    found = read_merged(store, leg.shortcut)
    if (found.since, found.target) != (leg.since, leg.target):
        raise IntegrityError("Malformed", f"a shortcut to version {leg.target} leads elsewhere")

    def fixed(tables: Mapping[str, Table]) -> dict[str, object]:
        return {
            name: (
                *(table.columns, table.default, table.multi_hash, table.seed),
                *(table.rows, table.digest_after),
            )
            for name, table in tables.items()
        }

    if fixed(found.tables) != fixed(leg.manifest.tables):
        raise IntegrityError("Malformed", f"a shortcut to version {leg.target} has other tables")
    return found.tables


def read_merged(store: ModelStore, shortcut: Shortcut) -> Merged:
    """What a shortcut holds; raises IntegrityError where it is missing, altered or unreadable."""
    target = shortcut.target
    key = merged_key(target.lineage, target.version, shortcut.document)
    try:
        found = Merged.parse(store.objects.get(key, DOCUMENT_BYTES).data)
    except ObjectMissing as error:
        raise IntegrityError("Truncated", f"{key} is named but not there") from error
    except ValidationError as error:
        raise IntegrityError("Malformed", f"{key} cannot be read: {error}") from error
    if found.fingerprint() != shortcut.document:
        raise IntegrityError("DigestMismatch", f"{key} was altered")
    return found


def table_bytes(tables: Mapping[str, Table]) -> dict[Group, int]:
    """Bytes of all rows and tombstones by group."""
    total: dict[Group, int] = {}
    for table in tables.values():
        for shard in table.shards:
            objects = [shard.keys, *shard.columns.values(), shard.evicted, shard.erased]
            size = sum(each.bytes for each in objects if each is not None)
            total[shard.group] = total.get(shard.group, 0) + size
    return total
