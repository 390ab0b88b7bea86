"""What of a model's store is still needed, and what may go: a decision about one inventory.

    channels, leases, newest, young ──► versions whole, each with its chain down to a base
                                   └──► manifests of the ancestors that a quarantine may name
    whole versions ──► commits, manifests, data, transforms, shortcuts between two of them

Everything else of a known form goes once it is older than the grace period; what has no known
form stays. A commit says that a version can be read whole, so it goes first and its manifest,
while somebody may ask for ancestors, stays alone.

Data without a commit may be an attempt under way. It goes only when its number is taken, for then
it can never become a version (or when the whole lineage is dead): no clock of a slow writer enters
into it. Nor does that of a slow run that erases: the collector first changes the list that such a
run swaps, see `collecting`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from millstream_api.manifest import Redacted
from millstream_core.store.layout import (
    LEASES,
    TRANSFORMS,
    claim_of,
    commit_key,
    commit_of,
    data_key,
    folder_of,
    lineage_of,
    manifest_key,
    manifest_of,
    merged_key,
    merged_of,
    redacted_key,
    redacted_of,
    shortcuts_key,
    transform_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from millstream_api.erasure import Redactions
    from millstream_api.manifest import Manifest, VersionRef
    from millstream_api.upkeep import Merged, Shortcut
    from millstream_api.wire import Wire
    from millstream_core.store import Listed

ANCESTORS_KEPT: Final = 512  # manifests that a quarantine may reach back, behind each version


@dataclass(frozen=True)
class RetentionRules:
    """What stays besides what is reached."""

    keep_versions: int = 5  # newest of each lineage in use
    grace_seconds: float = 3600.0  # younger objects stay


@dataclass(frozen=True)
class Inventory:
    """What a model's store holds, read once."""

    now: float  # of the store's clock
    listed: tuple[Listed, ...]
    roots: frozenset[VersionRef]  # what channels and leases in force name
    leased: frozenset[str]  # keys of leases in force
    quarantined: frozenset[str]  # digests of versions that must not be built upon
    commits: Mapping[tuple[str, int], VersionRef]
    manifests: Mapping[VersionRef, Manifest]  # of commits, and of their ancestors
    shortcuts: Mapping[str, tuple[Shortcut, ...]]  # by lineage
    merged: Mapping[str, Merged]  # by digest; those that cannot be read are missing
    # By lineage: what versions read as since keys were erased, and the tag to swap that by.
    redactions: Mapping[str, tuple[Redactions, str | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Removal:
    """One object that goes."""

    key: str
    bytes: int
    why: str


@dataclass(frozen=True)
class Collection:
    """What goes, in the order in which it goes."""

    shortcuts: Mapping[str, tuple[Shortcut, ...]]  # what stays of the lists that change
    commits: tuple[Removal, ...]
    objects: tuple[Removal, ...]
    kept_versions: int
    kept_bytes: int

    @property
    def removals(self) -> tuple[Removal, ...]:
        """All objects that go."""
        return (*self.commits, *self.objects)


@dataclass(frozen=True)
class Reach:
    """What some versions need to be read."""

    whole: frozenset[VersionRef]
    history: frozenset[VersionRef]


def reach(roots: Iterable[VersionRef], manifests: Mapping[VersionRef, Manifest]) -> Reach:
    """Everything that these versions are built upon."""
    whole: set[VersionRef] = set()
    history: set[VersionRef] = set()
    for root in roots:
        needed = True
        for ref in _line(root, manifests):
            history.add(ref)
            if needed:
                whole.add(ref)
                needed = manifests[ref].kind != "base"
    return Reach(frozenset(whole), frozenset(history))


def _line(root: VersionRef, manifests: Mapping[VersionRef, Manifest]) -> Iterator[VersionRef]:
    current: VersionRef | None = root
    length = manifests[root].chain.length if root in manifests else 0
    for _ in range(max(ANCESTORS_KEPT, length + 1)):
        if current is None or current not in manifests:
            return
        yield current
        current = manifests[current].parent


def plan_collection(held: Inventory, rules: RetentionRules) -> Collection:
    """What goes and what stays.

    Args:
        held: the inventory.
        rules: what stays besides.
    """
    young_since = held.now - rules.grace_seconds
    modified = {each.key: each.modified for each in held.listed}
    live = {root.lineage for root in held.roots}
    live |= {lineage_of(each.key) or "" for each in held.listed if each.modified >= young_since}
    found = reach(
        [
            *held.roots,
            *_newest(held, live, rules.keep_versions),
            *_young(held, modified, young_since),
        ],
        held.manifests,
    )
    lists = {
        lineage: tuple(entry for entry in entries if _is_useful(entry, found, held.merged))
        for lineage, entries in held.shortcuts.items()
    }
    kept = needed_keys(found, held.manifests)
    for lineage, entries in lists.items():
        kept.add(shortcuts_key(lineage))
        for entry in entries:
            kept |= _shortcut_keys(entry, held.merged[entry.document])
    taken: dict[str, int] = {}
    claimed: dict[str, int] = {}
    for lineage, version in held.commits:
        taken[lineage] = max(taken.get(lineage, -1), version)
    for each in held.listed:
        if claim := claim_of(each.key):
            claimed[claim[0]] = max(claimed.get(claim[0], 0), claim[1])

    commits: list[Removal] = []
    objects: list[Removal] = []
    for each in held.listed:
        if each.key in kept or each.modified >= young_since:
            continue
        why = _reason(each.key, held, live, taken, claimed)
        if why is not None:
            bucket = commits if commit_of(each.key) else objects
            bucket.append(Removal(each.key, each.bytes, why))
    gone = {removal.key for removal in (*commits, *objects)}
    return Collection(
        shortcuts={
            lineage: entries
            for lineage, entries in lists.items()
            if entries != held.shortcuts[lineage]
        },
        commits=tuple(commits),
        objects=tuple(objects),
        kept_versions=len(found.whole),
        kept_bytes=sum(each.bytes for each in held.listed if each.key not in gone),
    )


def _newest(held: Inventory, live: set[str], count: int) -> list[VersionRef]:
    """The newest versions of each lineage in use, and the newest that a trainer goes on from."""
    by_lineage: dict[str, list[int]] = {}
    for lineage, version in held.commits:
        if lineage in live:
            by_lineage.setdefault(lineage, []).append(version)
    found = []
    for lineage, versions in by_lineage.items():
        refs = [held.commits[lineage, version] for version in sorted(versions, reverse=True)]
        found += refs[: max(count, 1)]
        found += next(([ref] for ref in refs if _may_be_built_upon(ref, held)), [])
    return found


def _may_be_built_upon(ref: VersionRef, held: Inventory) -> bool:
    return not any(each.digest in held.quarantined for each in _line(ref, held.manifests))


def _young(held: Inventory, modified: Mapping[str, float], young_since: float) -> list[VersionRef]:
    return [
        ref
        for (lineage, version), ref in held.commits.items()
        if modified[commit_key(lineage, version)] >= young_since
    ]


def _is_useful(entry: Shortcut, found: Reach, merged: Mapping[str, Merged]) -> bool:
    starts = entry.since is None or entry.since in found.whole
    return starts and entry.target in found.whole and entry.document in merged


def needed_keys(found: Reach, manifests: Mapping[VersionRef, Manifest]) -> set[str]:
    """The keys of all that is reached, shortcuts apart."""
    keys = {transform_key(manifests[ref].transform) for ref in found.history}
    keys |= {manifest_key(ref) for ref in found.history}
    keys |= {
        redacted_key(ref.lineage, ref.version, manifest.fingerprint())
        for ref in found.history
        if isinstance(manifest := manifests[ref], Redacted)
    }
    for ref in found.whole:
        keys.add(commit_key(ref.lineage, ref.version))
        keys |= {data_key(ref.lineage, path) for path in paths_in(manifests[ref])}
    return keys


def _shortcut_keys(entry: Shortcut, document: Merged) -> set[str]:
    lineage = entry.target.lineage
    return {
        merged_key(lineage, entry.target.version, entry.document),
        *(data_key(lineage, path) for path in paths_in(document)),
    }


def paths_in(document: Wire) -> set[str]:
    """The paths of all objects that a document names, in fields of later releases too."""
    paths: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if value.keys() >= {"path", "bytes", "sha256"}:
                paths.add(value["path"])
            for each in value.values():
                look(each)
        elif isinstance(value, list | tuple):
            for each in value:
                look(each)

    look(document.model_dump())
    return paths


def _reason(
    key: str,
    held: Inventory,
    live: set[str],
    taken: Mapping[str, int],
    claimed: Mapping[str, int],
) -> str | None:
    """Why an old object that nothing reaches goes; None where it stays all the same."""
    if commit := commit_of(key):
        return f"nothing reaches version {commit[1]}"
    for place in (folder_of(key), manifest_of(key)):
        if place is None:
            continue
        lineage, version, _ = place
        if version > taken.get(lineage, -1) and lineage in live:
            return None  # may become a version yet
        committed = (lineage, version) in held.commits
        return (
            f"nothing reaches version {version}"
            if committed
            else f"no version {version} came of this attempt, or it is gone"
        )
    if redacted := redacted_of(key):
        return f"version {redacted[1]} reads otherwise by now, or it is gone"
    if way := merged_of(key):
        return f"nobody takes this way to version {way[1]} any more"
    if claim := claim_of(key):
        return "a newer writer has claimed" if claim[1] < claimed[claim[0]] else None
    if key.startswith(TRANSFORMS):
        return "no version uses this transform"
    if key.startswith(LEASES):
        return None if key in held.leased else "the lease is over"
    return "left by a probe" if key.startswith("probe/") else None
