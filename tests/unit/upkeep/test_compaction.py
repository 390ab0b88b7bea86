"""Shorter ways to versions: what they hold, when they are made, and that readers may lose them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_api.manifest import DefaultRow, MultiHash, VersionRef
from millstream_api.upkeep import Merged
from millstream_core.checkpoint.routes import find_way, read_shortcuts
from millstream_core.store import IntegrityError, StoreUnavailable
from millstream_core.upkeep.compaction import compact
from millstream_core.upkeep.planning import plan_spans, should_compact
from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import CountedObjects
from tests.builders.serving import Publisher
from tests.builders.upkeep import extend, make_chain, make_compactor


@pytest.fixture
def objects():
    return CountedObjects()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def load(shelf, ref, *also):
    wanted = (ref, *also, *(held.ref for held in shelf.held.values()))
    digests = {each.digest for each in wanted}
    shelf.load(ref, digests.__contains__, lambda _: None, wanted)
    return shelf.held[ref.digest]


def assert_is(version, publisher: Publisher) -> None:
    """The version answers as what was published last."""
    rows = publisher.tables["user"]
    keys = np.array(sorted(rows), np.int64)
    found = version.tables["user"].gather("rows", keys)
    np.testing.assert_array_equal(found, [rows[key] for key in keys.tolist()])
    assert version.tables["user"].rows == len(rows)


@pytest.mark.parametrize("deltas", [3, 4, 15, 16, 21])
def test_a_compacted_chain_leads_to_the_same_version(objects, pool, deltas) -> None:
    """R17: equal logical digests, which every load compares."""
    publisher, refs = make_chain(objects, deltas)
    compact(make_compactor(publisher), refs[-1])
    shelf = Shelf(publisher.store, pool)
    assert_is(load(shelf, refs[-1]), publisher)


@pytest.mark.parametrize("behind", [1, 4, 5, 20, 63])
def test_a_replica_behind_takes_few_steps(objects, pool, behind) -> None:
    """R16: O(log k) legs from k versions behind, and never more bytes than step by step."""
    publisher, refs = make_chain(objects, 63, users=3000)
    shelf = Shelf(publisher.store, pool)
    load(shelf, refs[-1 - behind])
    compact(make_compactor(publisher), refs[-1])
    held = [refs[-1 - behind]]
    _, legs = find_way(publisher.store, refs[-1], held=held, groups=("serve",))
    _, steps = find_way(publisher.store, refs[-1], held=held, groups=("serve",), shortcuts=False)
    assert len(steps) == behind
    assert legs[-1].since == refs[-1 - behind]
    assert len(legs) <= 3 * (1 + int(np.log(behind) / np.log(4)))
    assert sum(leg.cost(("serve",)) for leg in legs) <= sum(leg.cost(("serve",)) for leg in steps)
    assert_is(load(shelf, refs[-1]), publisher)


@pytest.mark.parametrize("behind", [1, 2, 3])
def test_a_replica_that_keeps_up_does_not_ask_for_shortcuts(objects, pool, behind, caplog) -> None:
    publisher, refs = make_chain(objects, 20, users=3000)
    compact(make_compactor(publisher), refs[-1])
    shelf = Shelf(publisher.store, pool)
    load(shelf, refs[-1 - behind])
    objects.damage("/shortcuts", lambda _: b"not to be read")
    load(shelf, refs[-1])
    assert not caplog.records, "an unreadable list would be complained about"


def test_versions_wanted_on_the_way_are_not_passed_by(objects, pool) -> None:
    publisher, refs = make_chain(objects, 16)
    compact(make_compactor(publisher), refs[-1])
    shelf = Shelf(publisher.store, pool)
    wanted = (refs[-1], refs[-3], refs[-4])
    digests = {each.digest for each in wanted}
    shelf.load(refs[-1], digests.__contains__, lambda _: None, wanted)
    assert set(shelf.held) == digests


def test_compacting_again_makes_nothing_new(objects) -> None:
    """R17: idempotent."""
    publisher, refs = make_chain(objects, 20)
    compactor = make_compactor(publisher)
    assert compact(compactor, refs[-1])
    held = set(objects.objects)
    assert compact(compactor, refs[-1]) == []
    assert set(objects.objects) == held


def test_work_broken_off_anywhere_is_taken_up_again(objects, pool) -> None:
    publisher, refs = make_chain(objects, 17)
    puts = objects.put
    left = 0

    def put(key, data, **conditions):
        nonlocal left
        left -= 1
        if left == 0:
            raise StoreUnavailable("s3 does not answer")
        return puts(key, data, **conditions)

    objects.put = put
    for stop in (2, 5, 9, 12, 12):
        left = stop
        with pytest.raises(StoreUnavailable):
            compact(make_compactor(publisher, f"c{stop}"), refs[-1])
    left = 0
    compact(make_compactor(publisher), refs[-1])
    assert_is(load(Shelf(publisher.store, pool), refs[-1]), publisher)
    entries = read_shortcuts(publisher.store, publisher.lineage)[0].entries
    ways = [(each.since, each.target) for each in entries]
    assert len(ways) == len(set(ways)), "each span once"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda key: "/shortcuts" in key, id="the list is no list"),
        pytest.param(lambda key: "/merged/" in key, id="the documents are altered"),
        pytest.param(lambda key: "-merged." in key and key.endswith("rows"), id="rows are cut"),
    ],
)
def test_a_damaged_shortcut_costs_bytes_and_nothing_else(objects, pool, damage, caplog) -> None:
    """R14: readers go step by step where a shorter way fails."""
    publisher, refs = make_chain(objects, 20)
    compact(make_compactor(publisher), refs[-1])
    for key in [key for key in objects.objects if damage(key)]:
        objects.damage(key, lambda data: data[: len(data) // 2])
    assert_is(load(Shelf(publisher.store, pool), refs[-1]), publisher)
    assert caplog.records


def test_a_missing_shortcut_costs_bytes_and_nothing_else(objects, pool) -> None:
    publisher, refs = make_chain(objects, 20)
    compact(make_compactor(publisher), refs[-1])
    for key in [key for key in objects.objects if "-merged." in key or "/merged/" in key]:
        objects.delete(key)
    assert_is(load(Shelf(publisher.store, pool), refs[-1]), publisher)


def user_changed(**changes):
    """A lie about the table of users."""
    return lambda told: told.changed(
        tables=told.tables | {"user": told.tables["user"].changed(**changes)}
    )


def without_tombstones(told: Merged) -> Merged:
    shards = (shard.changed(evicted=None) for shard in told.tables["user"].shards)
    return user_changed(shards=tuple(shards))(told)


@pytest.mark.parametrize(
    ("lie", "said"),
    [
        pytest.param(without_tombstones, "to the writer", id="rows too many"),
        pytest.param(user_changed(rows=1), "other tables", id="another number of rows"),
        pytest.param(user_changed(seed=9), "other tables", id="another seed"),
        pytest.param(user_changed(digest_after="0" * 32), "other tables", id="another state"),
        pytest.param(
            user_changed(default=DefaultRow(policy="SharedOov")),
            "other tables",
            id="another row for keys without one",
        ),
        pytest.param(
            user_changed(multi_hash=MultiHash(tables=2, rows=64, seed=1)),
            "other tables",
            id="keys read otherwise",
        ),
        pytest.param(lambda told: told.changed(since=None), "leads elsewhere", id="from elsewhere"),
    ],
)
def test_a_shortcut_that_lies_is_not_believed(objects, pool, lie, said, caplog) -> None:
    """R14: sound files, but not those of the version that the shortcut is to lead to."""
    publisher, refs = make_chain(objects, 8)
    compact(make_compactor(publisher), refs[-1])
    store = publisher.store
    listed, _ = read_shortcuts(store, publisher.lineage)
    lies = []
    for entry in listed.entries:
        key = f"{publisher.lineage}/merged/{entry.target.version}-{entry.document}.json"
        told = lie(Merged.parse(store.objects.get(key).data))
        store.objects.put(key.replace(entry.document, told.fingerprint()), told.canonical())
        lies.append(entry.changed(document=told.fingerprint()))
    store.objects.put(
        f"{publisher.lineage}/shortcuts", listed.changed(entries=tuple(lies)).canonical()
    )
    shelf = Shelf(store, pool)
    load(shelf, refs[0])
    assert_is(load(shelf, refs[-1]), publisher)
    assert said in caplog.text
    assert "going by steps" in caplog.text


def test_a_base_is_made_when_the_chain_weighs_half_of_it(objects, pool) -> None:
    publisher, refs = make_chain(objects, 1, users=2000, touched=20)
    rng, compactor = np.random.default_rng(1), make_compactor(publisher)

    def makes_a_base() -> bool:
        return any(made.since is None for made in compact(compactor, refs[-1]))

    assert not makes_a_base()
    while not makes_a_base():
        assert len(refs) < 200
        extend(publisher, refs, rng, users=2000, touched=20)
    _, legs = find_way(publisher.store, refs[-1], held=(), groups=("serve",))
    assert [leg.since for leg in legs] == [None]
    assert not should_compact(legs)
    assert_is(load(Shelf(publisher.store, pool), refs[-1]), publisher)
    extend(publisher, refs, rng, users=2000, touched=20)
    assert_is(load(Shelf(publisher.store, pool), refs[-1]), publisher)


def test_a_chain_that_adds_up_to_another_state_is_not_compacted(objects) -> None:
    publisher, refs = make_chain(objects, 12, users=20)
    wrong = publisher.latest
    assert wrong is not None
    user = wrong.tables["user"].changed(digest_after="00" * 16)
    refs.append(
        publisher.publish(
            change=lambda manifest: manifest.changed(tables=manifest.tables | {"user": user})
        )
    )
    with pytest.raises(IntegrityError, match="adds up to"):
        compact(make_compactor(publisher), refs[-1])


def test_spans_are_aligned_and_small_ones_come_first() -> None:
    def ref(number: int) -> VersionRef:
        return VersionRef(lineage="l", version=number, digest=f"{number:064x}")

    chain = [(ref(number), None) for number in range(18)]
    spans = plan_spans(chain, ())  # type: ignore[arg-type]
    assert [(span.since.version, span.target.version) for span in spans] == [
        (0, 4),
        (4, 8),
        (8, 12),
        (12, 16),
        (0, 16),
    ]
