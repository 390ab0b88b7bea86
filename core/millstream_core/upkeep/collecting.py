"""Taking away what nothing reaches, so that a crash or a race at any point loses nothing.

    inventory ──► plan ──► lists of shortcuts ──► commits ──► second look ──► everything else

A version that goes loses its commit first: from then on it does not exist, and what is left of it
is an orphan that the next collector sweeps. Whoever wants to use a version that nothing reaches
yet writes a lease or moves a channel first and looks for its commit afterwards; the collector
deletes the commit first and looks at channels and leases afterwards. Whichever comes first, one
of the two sees the other: the collector puts the commit back, or the user finds it gone before
relying on it (Dekker's argument; it asks of the store that what is written can be read, as S3
promises). Data goes only after that second look. Deleting twice does no harm.

What was written to replace versions without erased keys is named by no commit but by one list of a
lineage. Before any of it goes, the collector counts itself in that list, so that an attempt which
began earlier, however long it has been held up, can no longer swap the list and name what is gone.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from millstream_core.checkpoint.routes import change_shortcuts, read_merged, read_shortcuts
from millstream_core.store import IntegrityError, ObjectMissing, PreconditionFailed
from millstream_core.store.layout import commit_of, is_of_erasure, lineage_of, redactions_key
from millstream_core.store.redactions import read_redactions
from millstream_core.upkeep.leases import leases_in_force, store_time
from millstream_core.upkeep.locking import collector_lock
from millstream_core.upkeep.retention import (
    Collection,
    Inventory,
    RetentionRules,
    needed_keys,
    plan_collection,
    reach,
)

if TYPE_CHECKING:
    from millstream_api.manifest import Manifest, VersionRef
    from millstream_api.upkeep import Merged, Shortcut
    from millstream_core.store import ModelStore

log = logging.getLogger(__name__)


def collect(store: ModelStore, rules: RetentionRules, holder: str) -> Collection:
    """Remove what nothing reaches; returns what went.

    Args:
        store: of the model.
        rules: what stays besides.
        holder: names the process, unlike any other.

    Raises:
        CollectorBusy: another collector is at work.
        IntegrityError: a manifest or a channel was altered or is of a newer format, so it is not
            known what is reached; nothing was removed.
        StoreError: the store did not do its part; the next run goes on.
    """
    now = store_time(store.objects, holder)
    with collector_lock(store.objects, holder, now):
        held = take_inventory(store, now)
        plan = plan_collection(held, rules)
        _perform(store, held, plan)
        return plan


def preview(store: ModelStore, rules: RetentionRules, holder: str) -> Collection:
    """What `collect` would remove now; removes nothing."""
    return plan_collection(take_inventory(store, store_time(store.objects, holder)), rules)


def take_inventory(store: ModelStore, now: float) -> Inventory:
    """Read what the store holds, and everything that says what is reached.

    Raises:
        IntegrityError: a manifest or a channel was altered, or is of a newer format than this
            program knows.
    """
    # Roots after the listing: what is published in between is then known, or too young to go.
    listed = tuple(store.objects.list(""))
    lineages = {lineage for each in listed if (lineage := lineage_of(each.key))}
    # Before the manifests: what is swapped in later is not known here, and changes the tag.
    redactions = {lineage: read_redactions(store.objects, lineage) for lineage in lineages}
    for lineage in lineages:
        store.look_again(lineage)
    roots, leased, quarantined = _roots(store, now)
    commits: dict[tuple[str, int], VersionRef] = {}
    manifests: dict[VersionRef, Manifest] = {}
    for each in listed:
        place = commit_of(each.key)
        if place is None:
            continue
        try:
            commits[place] = store.resolve(*place)
        except (ObjectMissing, IntegrityError) as error:
            log.warning("the commit %s is passed over: %s", each.key, error)
    for ref in (*commits.values(), *roots):
        _read_line(store, ref, manifests)
    shortcuts = {lineage: read_shortcuts(store, lineage)[0].entries for lineage in lineages}
    return Inventory(
        now=now,
        listed=listed,
        roots=roots,
        leased=leased,
        quarantined=quarantined,
        commits=commits,
        manifests=manifests,
        shortcuts={lineage: entries for lineage, entries in shortcuts.items() if entries},
        merged=_documents(store, shortcuts),
        redactions=redactions,
    )


def _roots(
    store: ModelStore, now: float
) -> tuple[frozenset[VersionRef], frozenset[str], frozenset[str]]:
    """(what channels and leases name, keys of the leases in force, digests in quarantine), now."""
    roots: set[VersionRef] = set()
    quarantined: set[str] = set()
    for name in store.channels():
        found = store.channel(name)
        if found is not None:
            channel = found[0]
            named = (channel.target, channel.previous, *channel.retained)
            roots |= {ref for ref in named if ref is not None}
            quarantined |= set(channel.quarantined)
    leases = leases_in_force(store.objects, now)
    for lease in leases.values():
        roots |= set(lease.versions)
    return frozenset(roots), frozenset(leases), frozenset(quarantined)


def _read_line(store: ModelStore, ref: VersionRef, manifests: dict[VersionRef, Manifest]) -> None:
    """Read a version and its ancestors, as far as they are there and not known yet."""
    current: VersionRef | None = ref
    while current is not None and current not in manifests:
        try:
            manifests[current] = store.manifest(current)
        except ObjectMissing:
            if current == ref:
                log.warning("version %s of %s is named but not there", ref, ref.lineage)
            return
        current = manifests[current].parent


def _perform(store: ModelStore, held: Inventory, plan: Collection) -> None:
    objects = store.objects
    for lineage, entries in plan.shortcuts.items():
        stay = {entry.document for entry in entries}
        going = {entry.document for entry in held.shortcuts[lineage]} - stay
        change_shortcuts(
            store,
            lineage,
            lambda now, going=going: tuple(each for each in now if each.document not in going),  # type: ignore[misc]
        )
    for removal in plan.commits:
        objects.delete(removal.key)
    needed = _second_look(store, held)
    keys = [removal.key for removal in plan.objects if removal.key not in needed]
    erased_from = _lineages_erased_from(store, held, [key for key in keys if is_of_erasure(key)])
    for key in keys:
        if not is_of_erasure(key) or lineage_of(key) not in erased_from:
            objects.delete(key)


def _lineages_erased_from(store: ModelStore, held: Inventory, going: list[str]) -> set[str]:
    """Have no attempt to erase name these, however long it has been held up.

    Returns:
        Lineages where one did meanwhile, so nothing of that kind may go this time.
    """
    meanwhile = set()
    for lineage in {lineage for key in going if (lineage := lineage_of(key))}:
        listed, etag = held.redactions[lineage]
        data = listed.changed(swept=listed.swept + 1).canonical()
        try:
            key = redactions_key(lineage)
            store.objects.put(key, data, if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            meanwhile.add(lineage)
    return meanwhile


def _second_look(store: ModelStore, held: Inventory) -> set[str]:
    """What is reached now, whoever came meanwhile; puts back commits that are reached after all."""
    manifests = dict(held.manifests)
    roots = set(_roots(store, held.now)[0])
    present = {
        (lineage, version)
        for lineage in {lineage for lineage, _ in held.commits} | {root.lineage for root in roots}
        for version in store.commits(lineage)
    }
    roots |= {store.resolve(*place) for place in present - held.commits.keys()}
    for root in roots:
        _read_line(store, root, manifests)
    found = reach(roots, manifests)
    for ref in found.whole:
        if (ref.lineage, ref.version) not in present:
            with suppress(PreconditionFailed):  # somebody else has put it back
                store.recommit(manifests[ref])
    return needed_keys(found, manifests)


def _documents(store: ModelStore, shortcuts: dict[str, tuple[Shortcut, ...]]) -> dict[str, Merged]:
    found = {}
    for entries in shortcuts.values():
        for entry in entries:
            try:
                found[entry.document] = read_merged(store, entry)
            except IntegrityError as error:
                log.warning("a shortcut to version %s goes: %s", entry.target, error)
    return found
