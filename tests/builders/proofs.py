"""Proof that versions in a store can be read whole and hold what their place in the stream says.

All that a version consists of is immutable, so what was read and found right once stays right for
as long as every object is still the one that was read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from millstream_api.manifest import Group
from millstream_core.checkpoint import (
    Leg,
    TableRows,
    leg_tables,
    live_rows,
    merged,
    read_dense,
    read_table,
)
from millstream_core.checkpoint.routes import read_merged, read_shortcuts
from millstream_core.erasure.entries import read_ledger
from millstream_core.store import IntegrityError
from millstream_core.store.layout import shortcuts_key
from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined, row_hashes
from tests.builders.chain import DESIGN, LINEAGE, World, store_at
from tests.builders.mishaps import Inline
from tests.builders.stream import MARK, PARTITION, USERS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Manifest, Table, VersionRef
    from millstream_core.store import Listed, ModelStore, Stored

SPECS = DESIGN.tables()


class Recorded:
    """What reading something depends on: the tag of each object read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.tags: dict[str, str | None] = {}

    def get(self, key: str, at_most: int | None = None) -> Stored:
        self.tags[key] = self._world.tag(key)
        return self._world.objects.get(key, at_most)

    def put(self, key: str, data: bytes, **_: Any) -> str:
        raise AssertionError(f"a reader writes {key}: {data!r}")

    def list(self, prefix: str) -> Iterator[Listed]:
        raise AssertionError(f"a reader lists {prefix}")

    def delete(self, key: str) -> None:
        raise AssertionError(f"a reader deletes {key}")


class Prover:
    """Reads every version once, and again when one of its objects is not the same any more."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tags: dict[VersionRef, dict[str, str | None]] = {}  # of its own objects
        self._parents: dict[VersionRef, VersionRef | None] = {}  # None: it is a base
        self._rows: dict[VersionRef, dict[str, TableRows]] = {}
        self._seqs: dict[VersionRef, int] = {}  # as of which its rows were read
        self._shortcuts: str | None = None

    def prove(self, refs: Collection[VersionRef]) -> None:
        """Versions can be read by whoever knows nothing but their names; AssertionError if not.

        One that was on its way while a user was erased below it waits until that is finished.
        """
        store = store_at(self._world.objects)  # for all of them: nobody acts meanwhile
        for ref in refs:
            if not self._is_settled(store, ref):
                continue
            line = [ref]
            while self._is_proved(line[-1]) and (below := self._parents[line[-1]]) is not None:
                line.append(below)
            if not self._is_proved(line[-1]):
                for each in reversed(line):
                    self._read(each)

    def _is_settled(self, store: ModelStore, ref: VersionRef) -> bool:
        seqs = [store.manifest(ref).erasure_seq]
        for _, manifest in store.ancestry(ref, store.manifest(ref).chain.length + 1):
            seqs.append(manifest.erasure_seq)
        return seqs == sorted(seqs, reverse=True)

    def prove_shortcuts(self) -> None:
        """A shorter way leads to the same rows, or cannot be gone at all, which readers notice."""
        tag = self._world.tag(self._world.key(shortcuts_key(LINEAGE)))
        if tag == self._shortcuts:
            return
        self._shortcuts = tag
        store = store_at(self._world.objects)
        for entry in read_shortcuts(store, LINEAGE)[0].entries:
            if entry.target not in self._rows or (entry.since and entry.since not in self._rows):
                continue
            try:
                tables = read_merged(store, entry).tables
                found = {name: self._table(store, table) for name, table in tables.items()}
            except IntegrityError:
                continue
            target = store.manifest(entry.target)
            if not self._is_current(entry.target, target) or (
                entry.since and not self._is_current(entry.since, store.manifest(entry.since))
            ):
                continue
            try:
                leg_tables(store, Leg(entry.target, target, entry.since, entry))
            except IntegrityError:  # of before an erasure, which readers notice
                continue
            self._assert_state(target, self._joined(entry.since, target, found))

    def _is_proved(self, ref: VersionRef) -> bool:
        tags = self._tags.get(ref)
        return tags is not None and all(self._world.tag(key) == tag for key, tag in tags.items())

    def _read(self, ref: VersionRef) -> None:
        recorded = Recorded(self._world)
        store = store_at(recorded)
        assert store.resolve(ref.lineage, ref.version) == ref
        manifest = store.manifest(ref)
        below = None if manifest.kind == "base" else manifest.parent
        if below is not None and below not in self._rows:
            self._read(below)
        store.transform(manifest.transform)
        position = manifest.positions[PARTITION]
        assert read_dense(store, manifest, "serve")[MARK] == [position]
        assert read_dense(store, manifest, "train")["events"] == [position]
        found = {name: self._table(store, table) for name, table in manifest.tables.items()}
        ledger = read_ledger(store_at(self._world.objects))
        users = self._world.erased(ledger, upto=manifest.erasure_seq)
        for name in USERS:
            named = {*found[name].keys.tolist(), *found[name].gone.tolist()}
            assert not named & users, "an erased user has a row, or a tombstone"
        rows = self._joined(below, manifest, found)
        self._assert_state(manifest, rows)
        self._tags[ref], self._parents[ref], self._rows[ref] = recorded.tags, below, rows
        self._seqs[ref] = manifest.erasure_seq

    def _is_current(self, ref: VersionRef, manifest: Manifest) -> bool:
        return self._seqs[ref] == manifest.erasure_seq

    def _joined(
        self, below: VersionRef | None, manifest: Manifest, rows: dict[str, TableRows]
    ) -> dict[str, TableRows]:
        if below is None:
            return {name: table.without_tombstones() for name, table in rows.items()}
        ledger = read_ledger(store_at(self._world.objects))
        users = self._world.erased(ledger, after=self._seqs[below], upto=manifest.erasure_seq)
        gone = np.array(sorted(users), np.int64)
        return {
            name: merged(
                [
                    self._rows[below][name],
                    TableRows(gone[:0], no_rows(table), gone if name in USERS else gone[:0]),
                    table,
                ]
            ).without_tombstones()
            for name, table in rows.items()
        }

    def _assert_state(self, manifest: Manifest, rows: Mapping[str, TableRows]) -> None:
        ledger = read_ledger(store_at(self._world.objects))
        users = self._world.erased(ledger, upto=manifest.erasure_seq)
        state = self._world.stream.state_without(manifest.positions[PARTITION], users)
        for name, table in manifest.tables.items():
            live = live_rows(SPECS[name], rows[name])
            self._world.stream.assert_rows(name, state[name], live)
            served = {
                column: rows[name].columns[column]
                for column, stored in table.columns.items()
                if stored.group == "serve"
            }
            hashes = row_hashes(rows[name].keys, served)
            assert combined(EMPTY_STATE, hashes, NO_HASHES) == table.digest_after

    def _table(self, store: Any, table: Table) -> TableRows:
        return read_table(store, Inline(), LINEAGE, table, get_args(Group))


def no_rows(table: TableRows) -> dict[str, NDArray[Any]]:
    """The columns of a table with nothing in them."""
    return {name: column[:0] for name, column in table.columns.items()}
