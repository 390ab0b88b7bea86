"""R29: an erased key is in no version, under whatever name, and versions keep their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from millstream_core.checkpoint import find_way, read_dense, read_whole
from millstream_core.erasure.entries import read_ledger
from millstream_core.erasure.requests import finish, lift
from millstream_core.evaluation import GoldenEvents
from millstream_core.store import IntegrityError, ModelStore
from millstream_core.store.layout import redactions_key
from millstream_core.upkeep.collecting import collect
from millstream_core.upkeep.compaction import _make, compact
from millstream_core.upkeep.locking import CollectorBusy, collector_lock
from millstream_core.upkeep.retention import RetentionRules
from tests.builders.erasure import SALT, forget, holders, large, redactor_at
from tests.builders.mishaps import Connection, Inline, Mishap
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, history_row, random_dense, random_rows
from tests.builders.trainer import Killed
from tests.builders.upkeep import make_compactor, point

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef

USER, OTHER, ITEM = large(1), large(2), large(1000)
GROUPS = ("serve",)
ROW = np.ones(8, np.float32)


def make_chain(objects: MemoryObjects) -> tuple[Publisher, list[VersionRef]]:
    """A user and an item in a base; the user is trained, leaves, comes back; then another base."""
    publisher = Publisher(objects)
    width = publisher.architecture.embedding_dim

    def row(value: float) -> np.ndarray:
        return np.full(width, value, np.float32)

    rows = random_rows(publisher, 5, 5)
    rows["user"] |= {USER: row(1), OTHER: row(2)}
    rows["item"][ITEM] = row(3)
    rows["history"] |= {
        USER: history_row(publisher.architecture, [1000, 1001]),
        OTHER: history_row(publisher.architecture, [1002, ITEM, 1001]),
    }
    refs = [publisher.publish(rows, popular=[1000, ITEM], newest=[ITEM, 1001])]
    events = GoldenEvents(np.array([USER, 0]), np.array([1000, ITEM]), np.zeros(2, np.uint8))
    dense = random_dense(publisher.architecture) | events.tensors()
    refs.append(publisher.publish({"user": {USER: row(4)}}, popular=[ITEM], dense=dense))
    refs.append(publisher.publish({"user": {0: row(5)}}))
    refs.append(publisher.publish(gone={"user": [USER], "history": [USER]}))
    refs.append(publisher.publish({"user": {3: row(6)}, "item": {ITEM: row(7)}}))
    refs.append(publisher.publish({"user": {USER: row(8)}}))
    refs.append(publisher.publish(base=True))
    refs.append(publisher.publish({"user": {OTHER: row(9)}}))
    point(publisher, "latest", refs[-1])
    return publisher, refs


def contents(objects: MemoryObjects, ref: VersionRef) -> dict:
    """All rows of a version as a server that knows nothing reads them: table -> key -> bytes."""
    try:
        return contents_by(objects, ref, shortcuts=True)
    except IntegrityError:  # as all readers do
        return contents_by(objects, ref, shortcuts=False)


def contents_by(objects: MemoryObjects, ref: VersionRef, *, shortcuts: bool) -> dict:
    store = ModelStore(objects, "models", "shop")
    _, legs = find_way(store, ref, held=(), groups=GROUPS, shortcuts=shortcuts)
    found = {}
    for name in legs[0].manifest.tables:
        found[name] = {}
        for _, rows in read_whole(store, Inline(), legs, name):
            [column] = rows.columns.values()
            values = (value.tobytes() for value in column)
            found[name] |= zip(rows.keys.tolist(), values, strict=True)
    return found


def without(before: dict, user: int) -> dict:
    """What is left where a user was forgotten."""
    return {
        name: {key: row for key, row in rows.items() if name == "item" or key != user}
        for name, rows in before.items()
    }


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


def test_a_user_is_gone_from_every_version_and_all_else_is_as_it_was(objects) -> None:
    publisher, refs = make_chain(objects)
    before = {ref: contents(objects, ref) for ref in refs}
    assert holders(objects, [USER])
    report = forget(objects, "user", USER)
    assert holders(objects, [USER]) == []
    for ref in refs:
        assert contents(objects, ref) == without(before[ref], USER)
        assert publisher.store.resolve(ref.lineage, ref.version) == ref
    [done] = report.lineages
    assert (done.versions, done.rows, done.tombstones, done.histories) == (8, 5, 2, 0)
    assert (done.candidates, done.golden) == (0, 1)
    assert report.search is not None
    assert report.search.found == ()
    assert report.search.raw > 0
    assert report.search.parsed > 0


def test_an_erased_item_leaves_histories_and_candidates_too(objects) -> None:
    """R29, and R27: no list of any retained version proposes it again."""
    _, refs = make_chain(objects)
    before = {ref: contents(objects, ref) for ref in refs}
    report = forget(objects, "item", ITEM)
    assert holders(objects, [ITEM]) == []
    for ref in refs:
        after = contents(objects, ref)
        assert after["user"] == before[ref]["user"]
        assert ITEM not in after["item"]
        assert after["history"].keys() == before[ref]["history"].keys()
        store = ModelStore(objects, "models", "shop")
        dense = read_dense(store, store.manifest(ref), "serve")
        assert ITEM not in dense["candidates.popular"].tolist()
    kept = np.frombuffer(contents(objects, refs[-1])["history"][OTHER], np.int64)
    assert [item for item in kept.tolist() if item > 0] == [1002, 1001]
    [done] = report.lineages
    assert (done.histories, done.candidates, done.golden) == (2, 9, 1)


def test_a_small_key_is_found_and_erased_where_it_is_a_key_and_nowhere_else(objects) -> None:
    """Five is a user, and many other things."""
    _, refs = make_chain(objects)
    before = {ref: contents(objects, ref) for ref in refs}
    report = forget(objects, "user", 3)
    assert all(contents(objects, ref) == without(before[ref], 3) for ref in refs)
    assert report.search is not None
    assert report.search.raw == 0
    assert report.search.parsed > 0


def test_erasing_again_does_nothing_and_proves_it_again(objects) -> None:
    make_chain(objects)
    forget(objects, "user", USER)
    held = dict(objects.objects)
    report = forget(objects, "user", USER, run="e2")
    changed = {key for key in held.keys() | objects.objects.keys() if "collector" not in key}
    assert all(held.get(key) == objects.objects.get(key) for key in changed)
    assert (report.seq, report.lineages) == (1, ())
    assert report.search is not None
    assert report.search.found == ()


def test_a_second_erasure_takes_keys_out_of_what_the_first_made(objects) -> None:
    _, refs = make_chain(objects)
    before = {ref: contents(objects, ref) for ref in refs}
    forget(objects, "user", USER)
    forget(objects, "user", OTHER, run="e2")
    assert holders(objects, [USER, OTHER]) == []
    for ref in refs:
        assert contents(objects, ref) == without(without(before[ref], USER), OTHER)


def test_several_keys_go_at_once(objects) -> None:
    _, refs = make_chain(objects)
    before = {ref: contents(objects, ref) for ref in refs}
    report = forget(objects, "user", USER, OTHER, 424242)
    assert len(report.keys) == 3
    assert holders(objects, [USER, OTHER]) == []
    for ref in refs:
        assert contents(objects, ref) == without(without(before[ref], USER), OTHER)


def test_shorter_ways_go_and_are_made_anew_without_the_key(objects) -> None:
    """R17: compaction carries nothing over that was erased."""
    publisher, refs = make_chain(objects)
    made = compact(make_compactor(publisher), refs[5])
    assert made
    before = contents(objects, refs[5])
    forget(objects, "user", USER)
    assert holders(objects, [USER]) == []
    assert contents(objects, refs[5]) == without(before, USER)
    again = compact(make_compactor(publisher, "c2"), refs[5])
    assert len(again) >= len(made)
    assert holders(objects, [USER]) == []
    assert contents(objects, refs[5]) == without(before, USER)


def test_a_compaction_that_read_before_an_erasure_lists_nothing(objects) -> None:
    """R17: what it has read may hold the key."""
    publisher, refs = make_chain(objects)
    connection = Connection(objects)
    connection.expect(
        Mishap(1, "others act", "/merged/", lambda: forget(objects, "user", USER) and None)
    )
    compactor = make_compactor(Publisher(connection), "c9")
    with pytest.raises(Exception, match="erased meanwhile"):
        compact(compactor, refs[5])
    assert "shortcuts" not in " ".join(objects.objects)
    objects.now += 10_000
    collect(publisher.store, RetentionRules(8, 100), "c")
    assert holders(objects, [USER]) == []


def test_what_no_version_names_goes_as_well(objects) -> None:
    """A crashed attempt at a number that is taken."""
    publisher, _ = make_chain(objects)
    keys = np.array([4, USER]).tobytes()
    publisher.store.put_data(publisher.lineage, "data/3-dead.1/train/user/0-1023.keys", keys)
    report = forget(objects, "user", USER)
    assert holders(objects, [USER]) == []
    assert report.lineages[0].removed > 0


def test_what_may_become_a_version_stays_and_is_told(objects) -> None:
    """An attempt under way: it is caught once it is a version."""
    publisher, _ = make_chain(objects)
    keys = np.array([4, USER]).tobytes()
    path = "data/8-busy.1/train/user/0-1023.keys"
    publisher.store.put_data(publisher.lineage, path, keys)
    report = forget(objects, "user", USER)
    assert report.search is not None
    assert report.search.found == (f"{publisher.lineage}/{path}",)


def test_a_version_that_comes_late_with_the_key_is_caught_by_the_next_maintenance(objects) -> None:
    """R29: it was begun before the erasure and ended after it."""
    publisher, refs = make_chain(objects)
    forget(objects, "user", USER)
    row = np.full(publisher.architecture.embedding_dim, 11, np.float32)
    refs.append(publisher.publish({"user": {USER: row, 1: row}}))
    refs.append(publisher.publish({"user": {2: row}}))
    assert holders(objects, [USER])
    done = finish(redactor_at(objects, "m1"))
    assert [each.versions for each in done] == [2]
    objects.now += 10_000
    collect(publisher.store, RetentionRules(8, 100), "c")
    assert holders(objects, [USER]) == []
    assert contents(objects, refs[-1])["user"].keys() == publisher.tables["user"].keys() - {USER}
    assert finish(redactor_at(objects, "m2")) == ()


def test_a_late_version_that_does_not_touch_the_key_is_redacted_too(objects) -> None:
    """Its writer reckoned with a row that its parent reads without by now."""
    publisher, refs = make_chain(objects)
    forget(objects, "user", OTHER)
    refs.append(publisher.publish({"user": {1: ROW}}))
    [done] = finish(redactor_at(objects, "m1"))
    assert (done.versions, done.unreadable) == (1, 0)
    assert contents(objects, refs[-1])["user"].keys() == publisher.tables["user"].keys() - {OTHER}


def test_what_collecting_takes_is_not_what_versions_read_as(objects) -> None:
    """R18: redacted manifests and their files are reached like any others."""
    publisher, refs = make_chain(objects)
    forget(objects, "user", USER)
    forget(objects, "item", ITEM, run="e2")
    before = {ref: contents(objects, ref) for ref in refs}
    objects.now += 10_000
    collect(publisher.store, RetentionRules(8, 100), "c")
    assert {ref: contents(objects, ref) for ref in refs} == before
    listed = [key for key in objects.objects if "/redacted/" in key]
    assert len(listed) == len(refs)
    collect(publisher.store, RetentionRules(1, 100), "c")
    assert len([key for key in objects.objects if "/data/6-" in key]) > 0
    assert contents(objects, refs[-1]) == before[refs[-1]]


def test_a_reader_that_knew_the_old_manifest_looks_again(objects) -> None:
    publisher, refs = make_chain(objects)
    store = publisher.store
    old = store.manifest(refs[-1])
    forget(objects, "user", USER)
    assert store.manifest(refs[-1]) == old
    assert store.look_again(publisher.lineage)
    assert store.manifest(refs[-1]).erasure_seq == 1
    assert store.manifest(refs[-1]).ref() == refs[-1]
    assert not store.look_again(publisher.lineage)


def test_a_damaged_version_does_not_keep_the_others_from_being_erased(objects) -> None:
    publisher, refs = make_chain(objects)
    objects.damage("data/5-1/serve/user/0-1023.rows", lambda data: data[:-1])
    report = forget(objects, "user", USER)
    assert (report.lineages[0].versions, report.lineages[0].unreadable) == (7, 1)
    assert USER not in contents(objects, refs[4])["user"]
    assert USER not in contents(objects, refs[7])["user"]
    assert report.search is not None
    assert report.search.found == (f"{publisher.lineage}/data/5-1/serve/user/0-1023.keys",)


def test_a_writer_that_says_another_state_than_it_has_is_found_out(objects) -> None:
    """R15: what an erasure would cover up."""
    publisher = Publisher(objects)

    def lie(manifest):
        table = manifest.tables["user"].changed(digest_after="1" * 32)
        return manifest.changed(tables=manifest.tables | {"user": table})

    publisher.publish(random_rows(publisher, 3, 3), change=lie)
    [done] = forget(objects, "user", 424242).lineages
    assert (done.versions, done.unreadable) == (0, 1)
    assert redactions_key(publisher.lineage) not in " ".join(objects.objects)


def test_only_one_erases_or_collects_at_a_time(objects) -> None:
    publisher, _ = make_chain(objects)
    below = publisher.store.objects
    with collector_lock(below, "c", 1e9), pytest.raises(CollectorBusy):
        forget(objects, "user", USER)
    # What was asked for is in the ledger, so maintenance does it.
    assert [each.rows for each in finish(redactor_at(objects))] == [5]
    assert holders(objects, [USER]) == []


def test_where_nobody_was_erased_maintenance_asks_once(objects) -> None:
    make_chain(objects)
    before = dict(objects.objects)
    assert finish(redactor_at(objects)) == ()
    assert objects.objects == before


def test_a_lift_lets_the_key_in_again_and_brings_nothing_back(objects) -> None:
    publisher, refs = make_chain(objects)
    forget(objects, "user", USER)
    report = lift(publisher.store, "l1", "user", [USER, OTHER], model="shop", salt=SALT)
    assert (report.action, report.seq) == ("lift", 2)
    assert finish(redactor_at(objects)) == ()
    row = np.full(publisher.architecture.embedding_dim, 11, np.float32)
    ref = publisher.publish({"user": {USER: row}}, change=lambda each: each.changed(erasure_seq=2))
    assert finish(redactor_at(objects)) == ()
    assert USER not in contents(objects, refs[-1])["user"]
    assert publisher.store.manifest(ref).tables["user"].touched == 1


def test_whoever_dies_at_any_call_is_followed_by_one_who_finishes() -> None:
    """R29: the store is readable after every crash, and a second run leaves nothing."""
    call = 0
    while True:
        call += 1
        objects = MemoryObjects()
        publisher = Publisher(objects)
        refs = [publisher.publish(random_rows(publisher, 3, 3) | {"user": {USER: ROW, 1: ROW}})]
        others = random_rows(publisher, 2, 2)
        refs.append(publisher.publish(others | {"user": {2: ROW}}, gone={"user": [USER]}))
        compactor = make_compactor(publisher)
        assert _make(compactor, read_ledger(publisher.store), refs[1], None, 2, 0)
        before = {ref: contents(objects, ref) for ref in refs}
        connection = Connection(objects)
        connection.expect(Mishap(call, "dies after"))
        try:
            forget(connection, "user", USER)
        except Killed:
            pass
        else:
            break
        for ref, rows in before.items():
            assert contents(objects, ref) in (rows, without(rows, USER)), f"call {call}"
        objects.now += 4000  # the lock of the dead one is over
        forget(objects, "user", USER, run="e2")
        assert holders(objects, [USER]) == [], f"call {call}"
        for ref, rows in before.items():
            assert contents(objects, ref) == without(rows, USER), f"call {call}"
    assert call > 100
