"""Tables against plain dictionaries: whatever is done to them, they answer the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from millstream_api.manifest import Column
from millstream_core.tables.digest import EMPTY_STATE, combined, row_hashes
from millstream_core.tables.index import KeyIndex
from millstream_core.tables.slots import SlotIndex
from millstream_core.tables.snapshots import ColumnSpec, Rows, seal
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.versioned import TableVersion, VersionedTable
from tests.builders.tables import by_key

WIDTH = 3
# Few distinct keys make collisions of every kind likely; the extremes are keys like any other.
KEYS = st.one_of(st.integers(-5, 30), st.sampled_from([-(2**63), 2**63 - 1]))
ROWS = st.dictionaries(KEYS, st.integers(0, 3), max_size=20)
NO_KEYS = np.empty(0, np.int64)

settings.register_profile("tables", deadline=None, max_examples=150)
settings.load_profile("tables")


def as_arrays(rows: dict[int, int]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float32]]]:
    keys = np.array(sorted(rows), np.int64)
    values = np.array([rows[int(key)] for key in keys], np.float32)
    return keys, {"rows": np.repeat(values[:, None], WIDTH, axis=1)}


def content(version: TableVersion, keys: set[int]) -> dict[int, int]:
    ordered = np.array(sorted(keys), np.int64)
    slots = version.slots(ordered)
    rows = version.gather("rows", ordered)
    return {
        int(key): int(row[0])
        for key, slot, row in zip(ordered, slots, rows, strict=True)
        if slot >= 0
    }


@given(st.lists(st.lists(KEYS, max_size=30), max_size=10))
def test_index_hands_out_ordinals_like_a_dict(batches: list[list[int]]) -> None:
    index, model = KeyIndex(), dict[int, int]()
    for batch in batches:
        ordinals = index.insert(np.array(batch, np.int64))
        for key in batch:
            model.setdefault(key, len(model))
        assert ordinals.tolist() == [model[key] for key in batch]
    assert index.keys().tolist() == list(model)
    asked = np.array([*model, 1234567], np.int64)
    assert index.lookup(asked).tolist() == [*model.values(), -1]


@given(st.lists(st.tuples(st.booleans(), st.lists(KEYS, max_size=30)), max_size=20))
def test_slots_are_those_of_a_dict_that_gives_them_back(
    steps: list[tuple[bool, list[int]]],
) -> None:
    """R1: no key is lost or doubled, no slot has two keys, and free slots are used first.

    A look at the distinct keys of a batch leaves the index as it was.
    """
    index, model, most = SlotIndex(), dict[int, int](), 0
    earlier: list[int] = []
    for inserts, batch in steps:
        keys = np.array(batch, np.int64)
        if inserts:
            slots, new = index.insert(keys)
            assert {batch[place] for place in new} == set(batch) - model.keys()
            assert len(new) == len(set(batch) - model.keys())
            model.update(zip(batch, slots.tolist(), strict=True))
        else:
            freed = index.remove(keys)
            known = {slot for slot in freed.tolist() if slot >= 0}
            assert known == {model.pop(key) for key in set(batch) & model.keys()}
        most = max(most, len(model))
        looked_up = [*batch, *earlier]
        earlier = looked_up[:30]
        distinct = index.distinct(np.array(looked_up, np.int64))
        met = list(dict.fromkeys(key for key in looked_up if key in model))
        unknown = sorted(set(looked_up) - model.keys())
        assert distinct.keys.tolist() == [*met, *unknown]
        assert distinct.slots.tolist() == [model.get(key, -1) for key in [*met, *unknown]]
        assert distinct.keys[distinct.index].tolist() == looked_up
        asked = np.array([*model, 1234567], np.int64)
        assert index.lookup(asked).tolist() == [*model.values(), -1]
        assert index.slots().tolist() == sorted(model.values())
        assert index.keys_at(index.lookup(asked[:-1])).tolist() == list(model)
        assert len(index) == len(model)
        assert index.end == most


@given(
    st.lists(
        st.tuples(st.integers(0, 4), ROWS, st.sets(KEYS, max_size=5), st.booleans(), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_versions_share_rows_and_never_disturb_each_other(
    steps: list[tuple[int, dict[int, int], set[int], bool, bool]],
) -> None:
    """R21: loads from any held version, drops of any other, and reuse of what became free.

    The index that a version is made with never holds many more keys than the version.
    """
    table = VersionedTable({"rows": Column(dtype="float32", width=WIDTH, group="serve")})
    held: list[tuple[TableVersion, dict[int, int]]] = []
    seen: set[int] = set()
    for which, rows, gone, whole, drop in steps:
        parent, before = held[which % len(held)] if held else (None, {})
        left = gone - rows.keys()
        keys, columns = as_arrays(rows)
        version = table.load(parent, keys, columns, np.array(sorted(left), np.int64), whole=whole)
        start = len(rows) if whole or parent is None else parent.rows
        assert len(version.index) <= 2 * start + len(rows)
        carried = {} if whole else {key: row for key, row in before.items() if key not in left}
        held.append((version, carried | rows))
        seen |= rows.keys() | gone
        if drop and len(held) > 1:
            del held[which % len(held)]
        del parent, version
        table.collect()
        for kept, expected in held:
            assert content(kept, seen) == expected
            assert kept.rows == len(expected)
            every_key, every_row = as_arrays(expected)
            none = np.zeros((0, 2), np.uint64)
            assert kept.digest == combined(EMPTY_STATE, row_hashes(every_key, every_row), none)


@given(ROWS, st.randoms(use_true_random=False))
def test_state_digest_ignores_order_and_sees_every_change(rows: dict[int, int], rng) -> None:
    """R15: a row lost, doubled or altered shows."""
    none = np.zeros((0, 2), np.uint64)
    keys, columns = as_arrays(rows)
    state = combined(EMPTY_STATE, row_hashes(keys, columns), none)
    order = list(range(len(keys)))
    rng.shuffle(order)
    shuffled = row_hashes(keys[order], {"rows": columns["rows"][order]})
    assert combined(EMPTY_STATE, shuffled, none) == state
    if len(keys):
        hashes = row_hashes(keys, columns)
        assert combined(EMPTY_STATE, hashes[1:], none) != state, "a lost row"
        assert combined(state, hashes[:1], none) != state, "a doubled row"
        columns["rows"][0, -1] += 1
        assert combined(EMPTY_STATE, row_hashes(keys, columns), none) != state, "an altered row"


def make_table() -> TrainingTable:
    return TrainingTable(
        {
            "rows": ColumnSpec(dtype="float32", width=WIDTH, serve="float32", uniform=0.5),
            "accumulator": ColumnSpec(dtype="float32", width=1),
        },
        seed=7,
    )


class Change(NamedTuple):
    """What training does between two snapshots, or while one uploads."""

    written: set[int]
    evicted: set[int]
    is_evicted_first: bool  # so that what is in both has a new row


CHANGES = st.builds(Change, st.sets(KEYS, max_size=8), st.sets(KEYS, max_size=8), st.booleans())


class Oracle:
    """A table and the dictionary that it must be like: the number that each row holds."""

    def __init__(self) -> None:
        self.table = make_table()
        self.rows: dict[int, int] = {}
        self._number = 0

    def apply(self, change: Change) -> None:
        if change.is_evicted_first:
            self._evict(change.evicted)
        self._number += 1
        slots = self.table.admit(np.array(sorted(change.written), np.int64))
        self.table.values("rows")[slots] = self._number
        self.table.values("accumulator")[slots] += 1
        self.table.touch(slots)
        self.rows |= dict.fromkeys(change.written, self._number)
        if not change.is_evicted_first:
            self._evict(change.evicted)

    def _evict(self, keys: set[int]) -> None:
        slots = self.table.slots(np.array(sorted(keys), np.int64))
        self.table.evict(slots[slots >= 0])
        self.rows = {key: row for key, row in self.rows.items() if key not in keys}


def same_tables(ours: TrainingTable, theirs: TrainingTable) -> None:
    mine, others = (by_key(table.snapshot(whole=True).rows) for table in (ours, theirs))
    assert mine.keys.tolist() == others.keys.tolist()
    for column, values in mine.columns.items():
        assert np.array_equal(values, others.columns[column])


@given(st.lists(st.tuples(CHANGES, CHANGES, st.booleans(), st.booleans()), min_size=1, max_size=10))
def test_published_deltas_add_up_to_the_table_whatever_fails(
    steps: list[tuple[Change, Change, bool, bool]],
) -> None:
    """R5: rows written, admitted and evicted, also during an upload, which fails or not.

    A trainer that restores and a server that applies both end where the table is.
    """
    nothing = Change(set(), set(), is_evicted_first=False)
    live, reader = Oracle(), make_table()
    server = VersionedTable({"rows": Column(dtype="float32", width=WIDTH, group="serve")})
    version, seen = None, set[int]()
    for before, during, succeeds, whole in [*steps, (nothing, nothing, True, False)]:
        live.apply(before)
        sealed = seal(live.table.snapshot(whole=whole))
        rows = sealed.snapshot.rows
        assert not set(rows.gone.tolist()) & set(rows.keys.tolist())
        expected = dict(live.rows)
        seen |= expected.keys()
        live.apply(during)
        if not succeeds:
            continue
        assert sealed.snapshot.digest_before == reader.digest
        reader = make_table() if whole else reader
        reader.restore(rows)
        live.table.committed(sealed)
        assert reader.digest == live.table.digest == sealed.digest_after
        version = server.load(version, rows.keys, sealed.served, rows.gone, whole=whole)
        assert version.digest == sealed.digest_after
        assert content(version, seen) == expected
        assert version.rows == sealed.snapshot.total == len(expected)
    last = live.table.snapshot(whole=False).rows
    reader.restore(last)
    same_tables(live.table, reader)
    assert last.keys.tolist() == [], "what is committed is not published again"


@given(st.sets(KEYS, min_size=1, max_size=20))
def test_new_rows_depend_on_key_and_seed_alone(keys: set[int]) -> None:
    """R9: admitted in any order, in any batches, a key starts with the same values."""
    ordered = np.array(sorted(keys), np.int64)
    together, apart = make_table(), make_table()
    together.admit(ordered)
    for key in reversed(ordered):
        apart.admit(np.array([key]))
    for key in ordered:
        ours = together.values("rows")[together.slots(np.array([key]))]
        theirs = apart.values("rows")[apart.slots(np.array([key]))]
        assert np.array_equal(ours, theirs)
        assert np.all(np.abs(ours) < 0.5)


def test_rows_written_while_a_snapshot_uploads_go_into_the_next_one() -> None:
    table = make_table()
    table.admit(np.array([1, 2]))
    uploading = table.snapshot(whole=False)
    slots = table.slots(np.array([2]))
    table.values("rows")[slots] = 9
    table.touch(slots)
    table.committed(seal(uploading))
    assert table.snapshot(whole=False).rows.keys.tolist() == [2]


def test_a_key_that_no_version_ever_held_leaves_no_tombstone() -> None:
    """Or a stream of new keys would fill memory while the store is away."""
    table = make_table()
    table.admit(np.array([1, 2]))
    table.evict(table.slots(np.array([1])))
    table.snapshot(whole=False)  # fails to upload
    table.evict(table.slots(np.array([2])))
    assert table.snapshot(whole=False).rows.gone.tolist() == []


def test_restored_rows_are_not_published_again() -> None:
    table = make_table()
    ones = np.ones((1, WIDTH), np.float32)
    table.restore(Rows(np.array([5]), {"rows": ones, "accumulator": ones[:, :1]}))
    assert table.snapshot(whole=False).rows.keys.tolist() == []
