"""R29: no version that a server holds answers for an erased key, whatever the store still holds."""

from __future__ import annotations

import time

import numpy as np
import pytest

from millstream_core.erasure.entries import begin_ledger, read_ledger, record
from millstream_core.erasure.requests import finish, lift
from millstream_core.evaluation import GoldenEvents
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.checks import Refused, Unsettled
from millstream_serving.loading.loader import Loader
from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking.answers import proposals
from tests.builders.erasure import SALT, forget, redactor_at
from tests.builders.mishaps import Inline
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, history_row, random_dense, random_rows, until

USER, ITEM = 3, 1004
ROW = np.ones(8, np.float32)
GOLDEN = GoldenEvents(np.array([USER, 1, 1]), np.array([1000, ITEM, 1001]), np.zeros(3, np.uint8))


@pytest.fixture
def publisher() -> Publisher:
    """A base, a delta with another row of the user, and one without."""
    made = Publisher(MemoryObjects())
    rows = random_rows(made, 6, 6)
    rows["history"][1] = history_row(made.architecture, [1000, ITEM, 1001])
    made.publish(rows, newest=[ITEM, 1002])
    made.publish({"user": {USER: ROW}}, newest=[ITEM, 1002])
    dense = random_dense(made.architecture) | GOLDEN.tensors()
    made.publish({"user": {1: ROW}}, newest=[ITEM, 1002], dense=dense)
    return made


def shelf_of(publisher: Publisher) -> Shelf:
    return Shelf(publisher.store, Inline())


def hold(shelf: Shelf, *refs):
    """Load these versions beside those held; returns the last."""
    wanted = {ref.digest for ref in refs} | set(shelf.held)
    for ref in refs:
        if ref.digest not in shelf.held:
            shelf.load(ref, wanted.__contains__, lambda _: None, refs)
    return shelf.held[refs[-1].digest]


def all_refs(publisher: Publisher):
    return [publisher.store.resolve(publisher.lineage, number) for number in (0, 1, 2)]


def told(publisher: Publisher, subject, *keys, action="erase"):
    """Enter keys into the ledger and leave the versions as they are."""
    store = publisher.store
    ledger = begin_ledger(store, SALT)
    return record(store, ledger, action, subject, keys, at=1.0, reason="")


def users_in(version) -> list[int]:
    keys = np.arange(10)
    return keys[version.tables["user"].slots(keys) >= 0].tolist()


def test_an_erased_user_has_no_row_and_no_history_in_any_held_version(publisher) -> None:
    shelf = shelf_of(publisher)
    hold(shelf, *all_refs(publisher))
    before = dict(shelf.held)
    shelf.forget(told(publisher, "user", USER))
    for digest, version in shelf.held.items():
        assert users_in(version) == [0, 1, 2, 4, 5]
        assert version.history_of(USER).tolist() == []
        assert version.history_of(1).tolist() == before[digest].history_of(1).tolist()
        pad, items, none = ScratchPad(), np.array([1000, 1001]), np.empty(0, np.int64)
        asked = version.logits(USER, items, none, pad)
        np.testing.assert_array_equal(asked, version.logits(77, items, none, pad))
        assert (asked != before[digest].logits(USER, items, none, pad)).any()


def test_an_erased_item_is_proposed_to_nobody_and_in_no_history(publisher) -> None:
    shelf = shelf_of(publisher)
    version = hold(shelf, *all_refs(publisher))
    assert ITEM in proposals(version, np.empty(0, np.int64), 20)
    shelf.forget(told(publisher, "item", ITEM))
    for version in shelf.held.values():
        assert version.history_of(1).tolist() == [1000, 1001]
        assert ITEM not in proposals(version, np.empty(0, np.int64), 20)
        assert version.tables["item"].slots(np.array([ITEM])).tolist() == [-1]


@pytest.mark.parametrize(
    ("subject", "key", "left"), [("user", USER, [ITEM, 1001]), ("item", ITEM, [1000, 1001])]
)
def test_events_of_erased_keys_are_not_asked_about(publisher, subject, key, left) -> None:
    shelf = shelf_of(publisher)
    hold(shelf, *all_refs(publisher))
    shelf.forget(told(publisher, subject, key))
    newest = shelf.held[all_refs(publisher)[-1].digest]
    assert newest.golden.items.tolist() == left


def test_a_version_loaded_afterwards_does_not_answer_for_it_either(publisher) -> None:
    """R29: restart with an erasure that the store has not finished."""
    told(publisher, "user", USER)
    shelf = shelf_of(publisher)
    shelf.forget(read_ledger(publisher.store))
    hold(shelf, *all_refs(publisher))
    assert [users_in(version) for version in shelf.held.values()] == [[0, 1, 2, 4, 5]] * 3


def test_the_next_delta_of_a_trainer_that_knows_fits_what_is_held(publisher) -> None:
    """R15: digests agree, although the delta has no tombstone for the key."""
    shelf = shelf_of(publisher)
    hold(shelf, *all_refs(publisher))
    shelf.forget(told(publisher, "user", USER))
    publisher.forget("user", USER)
    publisher.forget("history", USER)
    after = publisher.publish({"user": {0: ROW}}, change=lambda m: m.changed(erasure_seq=1))
    assert users_in(hold(shelf, after)) == [0, 1, 2, 4, 5]


def test_a_delta_that_knows_more_than_the_server_makes_it_read_the_ledger(publisher) -> None:
    shelf = shelf_of(publisher)
    hold(shelf, *all_refs(publisher))
    told(publisher, "user", USER)
    publisher.forget("user", USER)
    publisher.forget("history", USER)
    after = publisher.publish({"user": {0: ROW}}, change=lambda m: m.changed(erasure_seq=1))
    hold(shelf, after)
    assert shelf.ledger.seq == 1
    assert all(USER not in users_in(version) for version in shelf.held.values())


def test_a_delta_that_knows_of_an_erasure_that_never_was_is_refused(publisher) -> None:
    odd = publisher.publish({"user": {0: ROW}}, change=lambda m: m.changed(erasure_seq=7))
    with pytest.raises(Refused, match="the ledger ends at 0"):
        hold(shelf_of(publisher), odd)


@pytest.mark.parametrize("rows", [{0: ROW}, {USER: ROW * 2}, {0: ROW, USER: ROW * 2}])
def test_a_delta_of_a_trainer_that_does_not_know_yet_fits_too(publisher, rows) -> None:
    """It was on its way while the key was erased."""
    shelf = shelf_of(publisher)
    hold(shelf, *all_refs(publisher))
    shelf.forget(told(publisher, "user", USER))
    late = publisher.publish({"user": rows})
    assert users_in(hold(shelf, late)) == [0, 1, 2, 4, 5]
    assert np.array_equal(
        shelf.held[late.digest].tables["user"].gather("rows", np.array([0]))[0],
        publisher.tables["user"][0],
    )


def test_a_server_that_has_read_the_old_manifests_finds_the_new_ones(publisher) -> None:
    """An older reader meets versions from which a key was erased since."""
    refs = all_refs(publisher)
    shelf = shelf_of(publisher)
    store = shelf._store
    for ref in refs:
        store.manifest(ref)
    forget(publisher.objects, "user", USER)
    version = hold(shelf, *refs)
    assert users_in(version) == [0, 1, 2, 4, 5]
    assert version.ref == refs[-1]
    assert version.manifest.erasure_seq == 1


@pytest.mark.parametrize(("subject", "key"), [("user", USER), ("item", ITEM)])
def test_from_what_is_held_one_goes_on_to_versions_that_were_redacted_since(
    publisher, subject, key
) -> None:
    """An item's mentions in histories cannot be mended here: then all is read anew."""
    refs = all_refs(publisher)
    shelf = shelf_of(publisher)
    hold(shelf, refs[0])
    shelf.forget(told(publisher, subject, key))
    forget(publisher.objects, subject, key)
    hold(shelf, *refs[1:])
    assert [held.manifest.version for held in shelf.held.values()] == [0, 1, 2]
    late = publisher.publish({"user": {0: ROW}}, change=lambda m: m.changed(erasure_seq=0))
    with pytest.raises(Unsettled):
        hold(shelf, late)
    finish(redactor_at(publisher.objects, "m1"))
    assert hold(shelf, late).manifest.erasure_seq == 1


def test_a_lift_brings_no_row_back_but_lets_new_ones_in(publisher) -> None:
    shelf = shelf_of(publisher)
    hold(shelf, *all_refs(publisher))
    shelf.forget(told(publisher, "user", USER))
    lift(publisher.store, "l", "user", [USER], model="shop", salt=SALT)
    shelf.forget(read_ledger(publisher.store, shelf.ledger))
    assert all(USER not in users_in(version) for version in shelf.held.values())
    publisher.forget("user", USER)
    publisher.forget("history", USER)
    new = publisher.publish({"user": {USER: ROW}}, change=lambda m: m.changed(erasure_seq=2))
    assert users_in(hold(shelf, new)) == [0, 1, 2, 3, 4, 5]


def test_rows_of_erased_keys_share_memory_and_leave_it_with_their_versions(publisher) -> None:
    """R21: nothing else is copied."""
    shelf = shelf_of(publisher)
    [base, *_] = refs = all_refs(publisher)
    hold(shelf, *refs)
    shelf.forget(told(publisher, "user", USER))
    others = np.array([0, 1, 2, 4, 5])
    held = shelf.held[base.digest]
    assert held.tables["user"].slots(others).tolist() == held.written["user"].slots(others).tolist()


class Listener:
    """What a loader has told last."""

    def __init__(self) -> None:
        self.loaded = None

    def __call__(self, loaded) -> None:
        self.loaded = loaded


@pytest.fixture
def listener(publisher):
    listener = Listener()
    loader = Loader(
        publisher.store, listener, time.monotonic, lambda: True, (0.01, 0.02), looks=0.02
    )
    loader.start()
    loader.want(all_refs(publisher))
    yield listener
    loader.stop()


def test_a_server_that_wants_nothing_new_learns_of_an_erasure(publisher, listener) -> None:
    """R29, within the time that a server waits between two looks at the store."""
    until(lambda: listener.loaded and len(listener.loaded.versions) == 3, "three versions")
    told(publisher, "user", USER)
    until(lambda: listener.loaded.erasure_seq == 1, "the erasure")
    assert all(USER not in users_in(version) for version in listener.loaded.versions.values())


def test_nothing_is_loaded_while_it_is_not_known_what_was_erased(publisher) -> None:
    told(publisher, "user", USER)
    held = publisher.objects.objects
    key = next(key for key in held if "erasure/0" in key)
    good = held[key]
    publisher.objects.damage(key, lambda data: data[:-2])
    heard = Listener()
    loader = Loader(publisher.store, heard, time.monotonic, lambda: True, (0.01, 0.02), looks=0.02)
    loader.start()
    refs = all_refs(publisher)
    loader.want(refs)
    try:
        until(lambda: heard.loaded and heard.loaded.troubles, "trouble")
        assert heard.loaded.versions == {}
        assert heard.loaded.state(refs[0]).reason == "Malformed"
        assert heard.loaded.store.ok
        held[key] = good
        until(lambda: len(heard.loaded.versions) == 3, "the versions")
    finally:
        loader.stop()
