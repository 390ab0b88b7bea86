"""R18: what nothing reaches goes, everything else stays, whatever happens in between."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_api.upkeep import CollectorLock, Lease
from millstream_core.store import IntegrityError, ObjectMissing
from millstream_core.upkeep.collecting import collect, preview
from millstream_core.upkeep.compaction import compact
from millstream_core.upkeep.leases import hold, store_time
from millstream_core.upkeep.locking import CollectorBusy, collector_lock
from millstream_core.upkeep.retention import ANCESTORS_KEPT, RetentionRules
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher
from tests.builders.trainer import DeadlyObjects, Killed
from tests.builders.upkeep import (
    assert_whole,
    extend,
    make_chain,
    make_compactor,
    point,
    roots_of,
)

RULES = RetentionRules(keep_versions=1, grace_seconds=100)


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


def grown_old(objects: MemoryObjects, bases: int = 4, deltas: int = 4) -> tuple[Publisher, list]:
    """Chains of deltas, each on a base of its own; all older than the grace period."""
    publisher, refs = make_chain(objects, deltas)
    rng = np.random.default_rng(1)
    for _ in range(bases - 1):
        refs.append(publisher.publish(base=True))
        for _ in range(deltas):
            extend(publisher, refs, rng)
    point(publisher, "latest", refs[-1])
    objects.now += 1000
    return publisher, refs


def numbers(publisher: Publisher) -> list[int]:
    return publisher.store.commits(publisher.lineage)


def test_what_channels_reach_stays_down_to_its_base_and_the_rest_goes(objects) -> None:
    publisher, refs = grown_old(objects)
    point(publisher, "stable", refs[12], previous=refs[11], retained=(refs[12], refs[6]))
    before = len(objects.objects)
    done = collect(publisher.store, RULES, "c")
    assert numbers(publisher) == [5, 6, 10, 11, 12, 15, 16, 17, 18, 19]
    assert_whole(objects, roots_of(publisher.store))
    assert len(objects.objects) < before
    assert {removal.key for removal in done.removals}
    folders = {key.split("/")[4] for key in objects.objects if "/data/" in key}
    assert folders == {f"{number}-1" for number in numbers(publisher)}


def test_what_a_trainer_goes_on_from_stays_while_all_newer_ones_are_quarantined(objects) -> None:
    """R18: a delta upon a version that goes meanwhile could be read by nobody."""
    publisher, refs = grown_old(objects)
    point(publisher, "stable", refs[2], quarantined=(refs[13].digest,))
    collect(publisher.store, RULES, "c")
    # Stable's chain, that of the version below the bad one, and that of the newest.
    assert numbers(publisher) == [0, 1, 2, 10, 11, 12, 15, 16, 17, 18, 19]


def test_collecting_again_finds_nothing(objects) -> None:
    publisher, _ = grown_old(objects)
    collect(publisher.store, RULES, "c")
    objects.now += 1000
    assert collect(publisher.store, RULES, "c").removals == ()


def test_a_preview_says_what_would_go_and_why_and_removes_nothing(objects) -> None:
    publisher, _ = grown_old(objects)
    held = dict(objects.objects)
    told = preview(publisher.store, RULES, "c")
    assert objects.objects == held
    assert {removal.why for removal in told.commits} >= {"nothing reaches version 0"}
    done = collect(publisher.store, RULES, "c")
    assert done.removals == told.removals
    assert done.kept_versions == 5


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        pytest.param(RetentionRules(1, 100), 5, id="the newest and its chain"),
        pytest.param(RetentionRules(6, 100), 10, id="six newest and their chains"),
        pytest.param(RetentionRules(1, 5000), 20, id="all, while young"),
    ],
)
def test_newest_and_young_versions_stay(objects, rules, left) -> None:
    publisher, _ = grown_old(objects)
    collect(publisher.store, rules, "c")
    assert len(numbers(publisher)) == left


def test_a_lease_keeps_versions_until_it_is_over(objects) -> None:
    publisher, refs = grown_old(objects)
    publisher.store.objects.put(
        "lease/reader", Lease(holder="me", versions=(refs[2],), seconds=500).canonical()
    )
    collect(publisher.store, RULES, "c")
    assert_whole(objects, [refs[2]])
    objects.now += 501
    collect(publisher.store, RULES, "c")
    assert refs[2].version not in numbers(publisher)
    assert not [key for key in objects.objects if "/lease/" in key]


def test_a_lease_ends_with_the_work(objects) -> None:
    publisher, refs = grown_old(objects)
    with hold(publisher.store, "me", Lease(holder="me", versions=(refs[2],), seconds=500)):
        collect(publisher.store, RULES, "c")
        assert_whole(objects, [refs[2]])
    collect(publisher.store, RULES, "c")
    assert refs[2].version not in numbers(publisher)


def test_ancestors_can_still_be_named_after_their_rows_are_gone(objects) -> None:
    """A quarantine reaches back by manifests; a version that lost its rows has no commit."""
    publisher, refs = grown_old(objects)
    collect(publisher.store, RULES, "c")
    line = [ref for ref, _ in Publisher(objects).store.ancestry(refs[-1], ANCESTORS_KEPT)]
    assert line == refs[::-1]
    with pytest.raises(ObjectMissing):
        publisher.store.resolve(publisher.lineage, refs[0].version)


def test_history_ends_somewhere(objects, monkeypatch) -> None:
    monkeypatch.setattr("millstream_core.upkeep.retention.ANCESTORS_KEPT", 7)
    publisher, _ = grown_old(objects)
    collect(publisher.store, RULES, "c")
    assert len([key for key in objects.objects if "/manifest/" in key]) == 7


def test_attempts_that_came_to_nothing_are_swept(objects) -> None:
    publisher, refs = grown_old(objects)
    for attempt in (f"{refs[-1].version}-dead.1", f"{refs[-1].version + 1}-alive.1"):
        publisher.store.put_data(publisher.lineage, f"data/{attempt}/serve/x", b"1")
    publisher.store.objects.put(f"{publisher.lineage}/manifest/2-{'0' * 64}.json", b"{}")
    objects.now += 1000
    collect(publisher.store, RULES, "c")
    assert not [key for key in objects.objects if "-dead.1" in key or "0" * 64 in key]
    assert [key for key in objects.objects if "-alive.1" in key], "its number may be committed yet"


def test_a_young_attempt_stays(objects) -> None:
    publisher, refs = grown_old(objects)
    publisher.store.put_data(publisher.lineage, f"data/{refs[-1].version}-x.1/serve/x", b"1")
    collect(publisher.store, RULES, "c")
    assert [key for key in objects.objects if "-x.1" in key]


def test_a_lineage_that_nothing_names_goes_but_for_its_last_claim(objects) -> None:
    publisher, _ = grown_old(objects)
    old = Publisher(objects, lineage="dead00")
    old.publish()
    for token in "ab":
        old.store.claim("dead00", "trainer", token)
    old.store.put_data("dead00", "data/9-x.1/serve/x", b"1")
    objects.now += 1000
    collect(publisher.store, RULES, "c")
    left = [key for key in objects.objects if "/dead00/" in key]
    assert left == [f"models/shop/dead00/writer/{3:020d}"], "epochs never fall"


def test_transforms_that_no_version_uses_go(objects) -> None:
    publisher, refs = grown_old(objects)
    unused = publisher.store.put_transform(b"{}")
    objects.now += 1000
    collect(publisher.store, RULES, "c")
    assert not [key for key in objects.objects if unused in key]
    assert_whole(objects, [refs[-1]])


def test_shortcuts_go_with_the_versions_between_which_they_lead(objects) -> None:
    publisher, refs = grown_old(objects)
    for last in (refs[4], refs[9], refs[-1]):
        compact(make_compactor(publisher), last)
    objects.now += 1000
    before = len([key for key in objects.objects if "/merged/" in key])
    collect(publisher.store, RULES, "c")
    after = [key for key in objects.objects if "/merged/" in key]
    assert before > len(after) > 0
    assert_whole(objects, [refs[-1]])
    assert compact(make_compactor(publisher), refs[-1]) == []


def test_what_has_no_known_form_stays(objects) -> None:
    publisher, _ = grown_old(objects)
    publisher.store.objects.put("erasure/1", b"1")
    publisher.store.objects.put("notes.txt", b"1")
    objects.now += 1000
    collect(publisher.store, RULES, "c")
    assert {"models/shop/erasure/1", "models/shop/notes.txt"} <= objects.objects.keys()


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
def test_a_collector_that_dies_at_any_call_leaves_everything_reachable_whole(after) -> None:
    """R18: crash at every read, write and delete; the next collector finishes the work."""
    done, call = False, 0
    while not done:
        call += 3  # every call of a fresh store costs a second; each third is every phase
        objects = MemoryObjects()
        publisher, refs = grown_old(objects, bases=3, deltas=2)
        point(publisher, "stable", refs[4], retained=(refs[3],))
        compact(make_compactor(publisher), refs[-1])
        objects.now += 1000
        deadly = DeadlyObjects(objects, call, after=after)
        try:
            collect(Publisher(deadly).store, RULES, "dies")
            done = True
        except Killed:
            pass
        assert_whole(objects, roots_of(publisher.store))
        objects.now += 4000
        collect(publisher.store, RULES, "next")
        assert_whole(objects, roots_of(publisher.store))
        assert numbers(publisher) == [3, 4, 6, 7, 8]
        folders = {key.split("/")[4].split("-")[0] for key in objects.objects if "/data/" in key}
        assert folders <= {"3", "4", "6", "7", "8"}


def test_two_collectors_do_not_meet(objects) -> None:
    publisher, _ = grown_old(objects)
    now = store_time(publisher.store.objects, "x")
    with collector_lock(publisher.store.objects, "first", now):
        with pytest.raises(CollectorBusy, match="first is collecting"):
            collect(publisher.store, RULES, "second")
        assert len(numbers(publisher)) == 20
    collect(publisher.store, RULES, "second")


def test_the_lock_of_a_dead_collector_is_taken_over_when_its_time_is_over(objects) -> None:
    publisher, _ = grown_old(objects)
    dead = CollectorLock(holder="dead", epoch=7, seconds=3600)
    publisher.store.objects.put("collector", dead.canonical())
    objects.now += 3599
    with pytest.raises(CollectorBusy, match="its lock ends in 1 s"):
        collect(publisher.store, RULES, "next")
    objects.now += 2
    collect(publisher.store, RULES, "next")
    left = CollectorLock.parse(publisher.store.objects.get("collector").data)
    assert (left.holder, left.epoch, left.seconds) == ("next", 8, 0)


def test_a_manifest_of_a_newer_release_stops_the_collector(objects) -> None:
    """It may name what this release does not know of."""
    publisher, refs = grown_old(objects)
    publisher.store.commit(
        make_manifest(99, refs[-1], lineage=publisher.lineage, min_reader_version=99)
    )
    held = len([key for key in objects.objects if "/data/" in key])
    objects.now += 1000
    with pytest.raises(IntegrityError, match="upgrade it"):
        collect(publisher.store, RULES, "c")
    assert len([key for key in objects.objects if "/data/" in key]) == held
