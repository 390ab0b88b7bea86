"""Taking erased keys out of the versions of a lineage, which keep their names.

    ledger ──► which versions were written before? ──► their rows without the keys, written anew
           ──► redacted manifests ──► the list of them, swapped ──► old objects deleted

Until the swap nothing that a reader sees has changed; by the swap all versions change at once;
after it the old objects are what nothing names, which the collector would sweep as well. So this
can be broken off anywhere and done again. The list is swapped as it was when this began: a
collector that has swept meanwhile, however long this took, has made another of it.

State digests are reckoned anew from the rows that are left, version by version as a server would
apply them: what a hostile or mistaken writer says of the rest cannot slip through, because where
nothing was taken out the result must be what the manifest says.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from millstream_api.erasure import RedactedLineage, Redactions
from millstream_api.manifest import Redacted
from millstream_core.checkpoint import Folder, read_dense, read_table, write_dense, write_rows
from millstream_core.checkpoint.routes import change_shortcuts, read_merged, read_shortcuts
from millstream_core.erasure.rows import KINDS, Sieve
from millstream_core.features import Transform
from millstream_core.store import IntegrityError, ObjectMissing, PreconditionFailed
from millstream_core.store.errors import StoreUnavailable
from millstream_core.store.layout import (
    ERASED,
    data_key,
    merged_key,
    redacted_key,
    redactions_key,
)
from millstream_core.store.redactions import read_redactions
from millstream_core.tables.versioned import VersionedTable
from millstream_core.upkeep.retention import paths_in

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from millstream_api.manifest import Group, Manifest, ObjectRef, Table, VersionRef
    from millstream_core.checkpoint import TableRows
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.store import ModelStore
    from millstream_core.tables.versioned import TableVersion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Redactor:
    """Who takes keys out, from where."""

    store: ModelStore
    pool: Executor  # transfers in parallel
    token: str  # of this run, unlike that of any other: no two write to one folder


def redact(redactor: Redactor, ledger: Ledger, lineage: str) -> RedactedLineage:
    """Take every erased key out of every version of a lineage that may still hold one.

    A version that cannot be read stays as it is, with a warning: nobody else can read it either.

    Raises:
        StoreError: the store did not do its part; doing it again goes on.
    """
    before = read_redactions(redactor.store.objects, lineage)
    redactor.store.look_again(lineage)
    manifests = _manifests(redactor.store, lineage)
    due = {ref for ref, manifest in manifests.items() if manifest.erasure_seq < ledger.erased_at}
    run = _Run(redactor, ledger, lineage, manifests)
    for ref in sorted(_with_ancestors(due, manifests), key=lambda each: each.version):
        try:
            run.advance(ref, is_due=ref in due)
        except IntegrityError as error:
            log.warning("version %s cannot be read, nothing is erased from it: %s", ref, error)
    shortcuts = removed = 0
    if run.redacted:
        _swap(redactor.store, lineage, ledger.seq, before, set(manifests), run.redacted)
        shortcuts, removed = run.remove_old()
    return RedactedLineage(
        lineage=lineage,
        versions=len(run.redacted),
        unreadable=len(due) - len(run.redacted),
        objects=run.written,
        shortcuts=shortcuts,
        removed=removed,
        **{kind: run.taken[kind] for kind in KINDS},
    )


@dataclass(frozen=True)
class _State:
    """The tables of a version as they are without the erased keys."""

    tables: dict[str, TableVersion]
    untouched: frozenset[str]  # tables from which nothing was taken out down to the base


@dataclass
class _Run:
    redactor: Redactor
    ledger: Ledger
    lineage: str
    manifests: dict[VersionRef, Manifest]
    redacted: dict[VersionRef, Redacted] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    written: int = 0  # objects
    _states: dict[VersionRef, _State] = field(default_factory=dict)
    _storage: dict[str, VersionedTable] = field(default_factory=dict)

    def advance(self, ref: VersionRef, *, is_due: bool) -> None:
        """Apply a version to its parent's state, and if it is due say what it reads as now."""
        manifest = self.manifests[ref]
        below = self._below(manifest)
        transform = Transform.parse(self.redactor.store.transform(manifest.transform))
        sieve = Sieve(self.ledger, transform, manifest.erasure_seq, Counter())
        path = f"data/{ref.version}-{ERASED}{self.redactor.token}"
        folder = Folder(self.redactor.store, self.redactor.pool, self.lineage, path)
        tables = {
            name: self._table(sieve, folder, name, table) for name, table in manifest.tables.items()
        }
        state = self._applied(manifest, below, tables)
        if is_due:
            described = {
                name: changed.changed(
                    rows=state.tables[name].rows,
                    digest_after=state.tables[name].digest,
                    digest_before=changed.digest_before
                    if below is None
                    else below.tables[name].digest,
                )
                for name, (_, changed, _) in tables.items()
            }
            self.redacted[ref] = Redacted.model_validate(
                manifest.model_dump()
                | {
                    "original": ref.digest,
                    "erasure_seq": self.ledger.seq,
                    "tables": described,
                    "admission": {
                        name: self._table(sieve, folder, name, table)[1]
                        for name, table in manifest.admission.items()
                    },
                    "dense": self._dense(sieve, folder, manifest),
                }
            )
            self.taken += sieve.taken
        self._states[ref] = state

    def remove_old(self) -> tuple[int, int]:
        """Delete what only the versions as they were have named; (shortcuts, objects) that went."""
        store = self.redactor.store
        now = self.manifests | self.redacted
        kept = {path for manifest in now.values() for path in paths_in(manifest)}
        going: list[str] = []
        for ref in self.redacted:
            before = self.manifests[ref]
            going += [data_key(self.lineage, path) for path in paths_in(before) - kept]
            if isinstance(before, Redacted):
                going.append(redacted_key(self.lineage, ref.version, before.fingerprint()))
        # A shorter way joins rows of many versions, so none of them is spared.
        dropped = read_shortcuts(store, self.lineage)[0].entries if self.taken else ()
        names = {entry.document for entry in dropped}
        change_shortcuts(
            store,
            self.lineage,
            lambda entries: tuple(each for each in entries if each.document not in names),
        )
        for entry in dropped:
            try:
                paths = paths_in(read_merged(store, entry))
            except IntegrityError as error:
                log.warning("a shortcut to version %s is left to be collected: %s", entry, error)
                continue
            going += [data_key(self.lineage, path) for path in paths]
            going.append(merged_key(self.lineage, entry.target.version, entry.document))
        for key in going:
            store.objects.delete(key)
        return len(dropped), len(going)

    def _below(self, manifest: Manifest) -> _State | None:
        if manifest.kind == "base":
            return None
        if manifest.parent not in self._states:
            raise IntegrityError("LineageBroken", f"version {manifest.parent} cannot be read")
        return self._states[manifest.parent]

    def _table(
        self, sieve: Sieve, folder: Folder, name: str, table: Table
    ) -> tuple[TableRows, Table, bool]:
        """(the rows that are left, what the version says of them, whether any had to go)."""
        store, pool = self.redactor.store, self.redactor.pool
        groups: tuple[Group, ...] = ("serve",)
        if not any(column.group == "serve" for column in table.columns.values()):
            groups = ("train",)
        found = read_table(store, pool, self.lineage, table, groups)
        left = sieve.rows(name, found)
        if left is found:
            return left, table, False
        again = replace(sieve, taken=Counter())  # the same rows, counted already
        whole = again.rows(name, read_table(store, pool, self.lineage, table))
        shards = write_rows(folder, name, table.columns, whole)
        self.written += sum(2 + len(shard.columns) for shard in shards)
        rows = len(left.keys) if groups == ("train",) else table.rows
        return left, table.changed(shards=shards, touched=len(left.keys), rows=rows), True

    def _applied(
        self,
        manifest: Manifest,
        below: _State | None,
        tables: dict[str, tuple[TableRows, Table, bool]],
    ) -> _State:
        made, untouched = {}, set()
        for name, (rows, table, has_lost) in tables.items():
            storage = self._storage.get(name)
            if storage is None:
                columns = {
                    column: spec for column, spec in table.columns.items() if spec.group == "serve"
                }
                storage = self._storage[name] = VersionedTable(columns)
            served = {column: rows.columns[column] for column in storage.columns}
            made[name] = storage.load(
                None if below is None else below.tables[name],
                rows.keys,
                served,
                rows.gone if below is not None else np.empty(0, np.int64),
                whole=below is None,
            )
            knew = below is None or self._knew_as_much(manifest)
            if not has_lost and knew and (below is None or name in below.untouched):
                untouched.add(name)
                if made[name].digest != manifest.tables[name].digest_after:
                    raise IntegrityError(
                        "LineageBroken",
                        f"table {name} of version {manifest.version} adds up to another state than "
                        "its writer had",
                    )
        return _State(made, frozenset(untouched))

    def _knew_as_much(self, manifest: Manifest) -> bool:
        """Whether no erasure came between what its parent reads as and what it was written as."""
        assert manifest.parent is not None
        return self.manifests[manifest.parent].erasure_seq <= manifest.erasure_seq

    def _dense(self, sieve: Sieve, folder: Folder, manifest: Manifest) -> dict[Group, ObjectRef]:
        objects: dict[Group, ObjectRef] = {}
        for group, obj in manifest.dense.items():
            tensors = read_dense(self.redactor.store, manifest, group)
            left = sieve.dense(tensors)
            is_same = all(left[name] is tensors[name] for name in tensors)
            objects[group] = obj if is_same else write_dense(folder, group, left)
            self.written += not is_same
        return objects


def _manifests(store: ModelStore, lineage: str) -> dict[VersionRef, Manifest]:
    found = {}
    for number in store.commits(lineage):
        try:
            ref = store.resolve(lineage, number)
            found[ref] = store.manifest(ref)
        except (IntegrityError, ObjectMissing) as error:
            log.warning("version %d cannot be read, nothing is erased from it: %s", number, error)
    return found


def _with_ancestors(
    refs: set[VersionRef], manifests: dict[VersionRef, Manifest]
) -> set[VersionRef]:
    """These versions and those below them, down to the base of each."""
    found: set[VersionRef] = set()
    for ref in refs:
        current: VersionRef | None = ref
        while current in manifests and current not in found:
            found.add(current)
            manifest = manifests[current]
            current = manifest.parent if manifest.kind == "delta" else None
    return found


def _swap(
    store: ModelStore,
    lineage: str,
    seq: int,
    before: tuple[Redactions, str | None],
    known: set[VersionRef],
    redacted: dict[VersionRef, Redacted],
) -> None:
    for ref, manifest in redacted.items():
        data = manifest.canonical()
        key = redacted_key(lineage, ref.version, manifest.fingerprint())
        store.objects.put(key, data)
    listed, etag = before
    digests = {ref.digest for ref in known}
    versions = {key: digest for key, digest in listed.versions.items() if key in digests}
    versions |= {ref.digest: manifest.fingerprint() for ref, manifest in redacted.items()}
    data = listed.changed(seq=seq, versions=versions).canonical()
    try:
        store.objects.put(redactions_key(lineage), data, if_absent=etag is None, if_match=etag)
    except PreconditionFailed as error:
        raise StoreUnavailable(
            "another run has erased from these versions, or a collector has swept what was written "
            "here: run it again"
        ) from error
    store.look_again(lineage)
