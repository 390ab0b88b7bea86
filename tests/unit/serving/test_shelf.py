"""From a reference to a version that may answer, or to the reason why it must not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_api.manifest import VersionRef
from millstream_core.checkpoint.ahead import AHEAD
from millstream_core.store import StoreUnavailable
from millstream_core.tables.encoding import encode
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.checks import Refused
from millstream_serving.loading.pace import Pace
from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import MemoryObjects
from tests.builders.serving import (
    Publisher,
    make_architecture,
    make_ref,
    random_dense,
    random_rows,
    until,
)


@pytest.fixture
def publisher():
    """A lineage with a base of 20 users and 40 items."""
    made = Publisher(MemoryObjects())
    made.publish(random_rows(made, 20, 40))
    return made


@pytest.fixture
def shelf(publisher):
    with ThreadPoolExecutor(4) as pool:
        yield Shelf(publisher.store, pool)


def load(shelf, ref, *also):
    """Load a version, wanting it and some others; returns it."""
    wanted = {ref.digest, *(other.digest for other in also), *shelf.held}
    shelf.load(ref, wanted.__contains__, lambda _: None)
    return shelf.held[ref.digest]


def new_rows(publisher, seed, users=3):
    return {"user": random_rows(publisher, users, 1, seed)["user"]}


def rows_of(version, table="user", keys=range(25)):
    return version.tables[table].gather("rows", np.array(list(keys), np.int64))


def test_a_base_is_loaded_as_it_was_written(publisher, shelf):
    base = load(shelf, publisher.latest.ref())
    np.testing.assert_array_equal(rows_of(base, keys=[3]), [publisher.tables["user"][3]])
    assert base.history_of(3).tolist() == publisher.tables["history"][3][-3:].tolist()
    assert base.tables["item"].rows == 40


def test_a_version_is_reached_from_its_base_through_every_delta(publisher, shelf):
    for seed in (1, 2, 3):
        last = publisher.publish(new_rows(publisher, seed, users=seed))
    version = load(shelf, last)
    for user in range(20):
        np.testing.assert_array_equal(
            rows_of(version, keys=[user])[0], publisher.tables["user"][user]
        )
    assert set(shelf.held) == {last.digest}


def test_versions_on_the_way_are_kept_where_they_are_wanted_too(publisher, shelf):
    base = publisher.latest.ref()
    middle = publisher.publish(new_rows(publisher, 1))
    last = publisher.publish(new_rows(publisher, 2))
    seen = []
    shelf.load(last, {base.digest, last.digest}.__contains__, lambda v: seen.append(v.ref))
    assert seen == [base, last]
    assert middle.digest not in shelf.held


def test_a_held_version_stays_as_it_was_when_a_delta_is_applied_on_it(publisher, shelf):
    base = load(shelf, publisher.latest.ref())
    before = rows_of(base)
    load(shelf, publisher.publish(new_rows(publisher, 9), gone={"user": [7]}))
    np.testing.assert_array_equal(rows_of(base), before)


def test_a_row_that_left_reads_as_zeros_in_that_version_only(publisher, shelf):
    base = load(shelf, publisher.latest.ref())
    delta = load(shelf, publisher.publish(gone={"user": [7], "history": [7]}))
    assert not rows_of(delta, keys=[7]).any()
    assert rows_of(base, keys=[7]).all()
    assert delta.history_of(7).tolist() == []


def test_from_a_held_version_only_the_delta_is_fetched(publisher, shelf):
    load(shelf, publisher.latest.ref())
    delta = publisher.publish(new_rows(publisher, 1))
    publisher.objects.objects = {
        key: stored for key, stored in publisher.objects.objects.items() if "data/0-1" not in key
    }
    assert load(shelf, delta).ref == delta


@pytest.mark.parametrize(
    "has_users",
    [
        pytest.param(False, id="not while nobody is answered, whatever is held"),
        pytest.param(True, id="once users are answered"),
    ],
)
def test_the_work_on_a_version_is_spread_out(publisher, monkeypatch, has_users):
    """R23: and a starting server is ready as soon as it can be."""
    rests = []
    monkeypatch.setattr(Pace, "rest", lambda _: rests.append(None))
    with ThreadPoolExecutor(4) as pool:
        shelf = Shelf(publisher.store, pool, lambda: has_users)
        load(shelf, publisher.latest.ref())
        publisher.publish(new_rows(publisher, 1))
        load(shelf, publisher.latest.ref())
    assert bool(rests) == has_users


def test_versions_share_the_rows_that_a_delta_does_not_touch(publisher, shelf):
    base = load(shelf, publisher.latest.ref())
    delta = load(shelf, publisher.publish(new_rows(publisher, 1, users=2)))
    keys = np.arange(20)
    same = base.tables["user"].slots(keys) == delta.tables["user"].slots(keys)
    assert same.tolist() == [False, False, *[True] * 18]


def test_a_new_base_shares_the_rows_that_are_equal(publisher, shelf):
    load(shelf, publisher.latest.ref())
    before = shelf.bytes
    rows = shelf.held[publisher.latest.ref().digest].tables["user"].table.values("rows")
    base = load(shelf, publisher.publish(new_rows(publisher, 1, users=2), base=True))
    assert base.tables["user"].rows == 20
    grown = shelf.bytes - before
    maps = 3 * 1024 * 4  # a new base may bring one new chunk of each table's map
    assert grown <= 2 * rows[0].nbytes + maps


def test_three_warm_versions_and_a_candidate_need_little_more_than_one():
    wide = Publisher(
        MemoryObjects(), architecture=make_architecture(embedding_dim=32, history_length=20)
    )
    first = wide.publish(random_rows(wide, 4000, 4000))
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(wide.store, pool)
        load(shelf, first)
        one = shelf.bytes
        for seed in range(3):
            load(shelf, wide.publish(random_rows(wide, 200, 200, seed)))
        assert len(shelf.held) == 4
        assert shelf.bytes <= 1.3 * one


def test_rows_of_versions_that_went_are_taken_again(publisher, shelf):
    """Memory stays that of the versions held, however many pass through."""
    sizes = []
    for seed in range(30):
        ref = publisher.publish(new_rows(publisher, seed, users=20))
        load(shelf, ref)
        shelf.drop_all_but({ref.digest})
        sizes.append(shelf.bytes)
    assert sizes[-1] == sizes[3]


def test_rows_are_not_taken_while_a_request_still_uses_their_version(publisher, shelf):
    pinned = load(shelf, publisher.latest.ref())
    before = rows_of(pinned)
    for seed in range(5):
        ref = publisher.publish(new_rows(publisher, seed, users=20))
        load(shelf, ref)
        shelf.drop_all_but({ref.digest})
    np.testing.assert_array_equal(rows_of(pinned), before)


def test_two_lineages_of_different_width_are_held_side_by_side(publisher, shelf):
    other = Publisher(
        publisher.objects, lineage="ffff00", architecture=make_architecture(embedding_dim=12)
    )
    theirs = other.publish(random_rows(other, 5, 5))
    first, second = load(shelf, publisher.latest.ref()), load(shelf, theirs)
    pad, items = ScratchPad(), np.array([1000, 1001])
    for version in (first, second, first):
        assert np.isfinite(version.logits(1, items, version.history_of(1), pad)).all()


def test_the_tables_of_a_lineage_go_with_its_last_version(publisher, shelf):
    load(shelf, publisher.latest.ref())
    one = shelf.bytes
    other = Publisher(publisher.objects, lineage="ffff00")
    theirs = load(shelf, other.publish(random_rows(other, 20, 40)))
    shelf.drop_all_but({theirs.ref.digest})
    assert shelf.bytes == one


def fetched_versions(publisher):
    """The numbers of the versions whose data was asked for, as they are."""
    asked: set[int] = set()
    real_get = publisher.objects.get

    def get(key, at_most=None):
        if "/data/" in key:
            asked.add(int(key.split("/data/")[1].split("-")[0]))
        return real_get(key, at_most)

    publisher.objects.get = get
    return asked


def test_the_next_deltas_are_fetched_while_one_is_applied_and_no_others(publisher, shelf):
    refs = [publisher.publish(new_rows(publisher, seed)) for seed in range(1, 9)]
    asked, seen = fetched_versions(publisher), []

    def loaded(version):
        number = version.ref.version
        last = min(number + AHEAD, len(refs))
        until(lambda: set(range(number + 1, last + 1)) <= asked, "what comes next to be fetched")
        assert max(asked) == last
        seen.append(number)

    shelf.load(refs[-1], lambda _: True, loaded)
    assert seen == list(range(9))


def test_what_nobody_wants_any_more_is_not_fetched_further(publisher, shelf):
    base = publisher.latest.ref()
    refs = [publisher.publish(new_rows(publisher, seed)) for seed in range(1, 9)]
    asked = fetched_versions(publisher)
    shelf.load(refs[-1], {base.digest}.__contains__, lambda _: None)
    load(shelf, refs[0])  # only then is the thread that fetches ahead known to be idle
    assert max(asked) <= AHEAD


def test_a_bad_delta_further_up_does_not_keep_those_below_from_being_held(publisher, shelf):
    """It is found while they are applied, and counts at its turn."""
    base = publisher.latest.ref()
    good = publisher.publish(new_rows(publisher, 1))
    bad = publisher.publish(new_rows(publisher, 2))
    publisher.objects.damage("data/2-1/serve/user/0-1023.rows", truncated)
    with pytest.raises(Refused) as refused:
        load(shelf, bad, base, good)
    assert refused.value.reason == "Truncated"
    assert set(shelf.held) == {base.digest, good.digest}


def test_loading_ends_early_when_nobody_wants_the_version_any_more(publisher, shelf):
    base = publisher.latest.ref()
    last = publisher.publish(new_rows(publisher, 1))
    publisher.objects.damage("data/1-1/serve/user/0-1023.rows", truncated)  # not even looked at
    shelf.load(last, {base.digest}.__contains__, lambda _: None)
    assert set(shelf.held) == {base.digest}


def bit_flipped(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


def truncated(data: bytes) -> bytes:
    return data[:-1]


@pytest.mark.parametrize(
    "part",
    ["user/0-1023.keys", "user/0-1023.rows", "history/0-1023.items", "dense.safetensors"],
)
@pytest.mark.parametrize(
    ("damage", "reason"), [(bit_flipped, "DigestMismatch"), (truncated, "Truncated")]
)
def test_a_damaged_object_refuses_the_version(publisher, shelf, part, damage, reason):
    base = load(shelf, publisher.latest.ref())
    before = rows_of(base)
    delta = publisher.publish(random_rows(publisher, 3, 3, seed=4))
    publisher.objects.damage(f"data/1-1/serve/{part}", damage)

    with pytest.raises(Refused) as refused:
        load(shelf, delta)

    assert refused.value.reason == reason
    assert set(shelf.held) == {base.ref.digest}
    np.testing.assert_array_equal(rows_of(base), before)


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("data/1-1/serve/user/0-1023.rows", "Truncated"),
        ("manifest/1-", "LineageBroken"),
        ("manifest/0-", "LineageBroken"),
        ("transform/", "Truncated"),
    ],
)
def test_a_missing_object_refuses_the_version(publisher, part, reason):
    delta = publisher.publish(new_rows(publisher, 1))
    publisher.objects.objects = {
        key: stored for key, stored in publisher.objects.objects.items() if part not in key
    }
    with ThreadPoolExecutor(2) as pool, pytest.raises(Refused) as refused:
        load(Shelf(publisher.store, pool), delta)
    assert refused.value.reason == reason


def test_an_altered_manifest_refuses_the_version(publisher, shelf):
    delta = publisher.publish(new_rows(publisher, 1))
    publisher.objects.damage("manifest/1-", lambda data: data.replace(b'"step":1', b'"step":2'))
    with pytest.raises(Refused) as refused:
        load(shelf, delta)
    assert refused.value.reason == "DigestMismatch"


def with_table(manifest, name, **fields):
    tables = dict(manifest.tables)
    tables[name] = tables[name].changed(**fields)
    return manifest.changed(tables=tables)


def with_width(manifest, width):
    columns = dict(manifest.tables["user"].columns)
    columns["rows"] = columns["rows"].changed(width=width)
    return with_table(manifest, "user", columns=columns)


def with_dtype(manifest, dtype):
    columns = dict(manifest.tables["user"].columns)
    columns["rows"] = columns["rows"].changed(dtype=dtype)
    return with_table(manifest, "user", columns=columns)


def without_table(manifest, name):
    return manifest.changed(tables={k: t for k, t in manifest.tables.items() if k != name})


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        pytest.param(
            lambda m: m.changed(parent=make_ref(0)), "LineageBroken", id="a parent that is nowhere"
        ),
        pytest.param(
            lambda m: m.changed(parent=None), "LineageBroken", id="a delta without a parent"
        ),
        pytest.param(
            lambda m: m.changed(min_reader_version=99), "FormatTooNew", id="a format of the future"
        ),
        pytest.param(
            lambda m: m.changed(architecture=make_architecture(head=(16, 16))),
            "ArchitectureMismatch",
            id="a delta with another network",
        ),
        pytest.param(
            lambda m: m.changed(kind="base", architecture=make_architecture(head=(16,))),
            "ArchitectureUnknown",
            id="a network without a kernel",
        ),
        pytest.param(
            lambda m: m.changed(kind="base", architecture=make_architecture(head=(16, 16))),
            "Malformed",
            id="weights of another network",
        ),
        pytest.param(lambda m: with_width(m, 4), "ColumnsMismatch", id="rows of another width"),
        pytest.param(
            lambda m: with_dtype(m, "uint32"), "ColumnsMismatch", id="rows in a form of nobody's"
        ),
        pytest.param(
            lambda m: with_dtype(m, "float16"),
            "Malformed",
            id="rows in another form than their files",
        ),
        pytest.param(
            lambda m: with_dtype(m.changed(kind="base"), "float16"),
            "Malformed",
            id="a base in another form than its files",
        ),
        pytest.param(
            lambda m: with_table(m, "item", default={"policy": "SharedOov"}),
            "DefaultRowMismatch",
            id="a delta with another row for unknown keys",
        ),
        pytest.param(
            lambda m: with_table(m, "item", multi_hash={"tables": 2, "rows": 9, "seed": 0}),
            "DefaultRowMismatch",
            id="a delta whose keys have other rows",
        ),
        pytest.param(
            lambda m: without_table(m, "history"), "ColumnsMismatch", id="a table left out"
        ),
        pytest.param(
            lambda m: with_table(m, "item", digest_before="0" * 32),
            "StateDigestMismatch",
            id="made on another state",
        ),
        pytest.param(
            lambda m: with_table(m, "item", digest_after="0" * 32),
            "StateDigestMismatch",
            id="another outcome than the writer's",
        ),
        pytest.param(
            lambda m: with_table(m, "item", rows=41), "StateDigestMismatch", id="one row too many"
        ),
    ],
)
def test_a_manifest_that_does_not_fit_refuses_the_version(publisher, shelf, lie, reason):
    base = load(shelf, publisher.latest.ref())
    delta = publisher.publish(new_rows(publisher, 1), change=lie)
    with pytest.raises(Refused) as refused:
        load(shelf, delta)
    assert refused.value.reason == reason
    assert set(shelf.held) == {base.ref.digest}


def test_a_manifest_under_another_number_is_refused(publisher, shelf):
    ref = publisher.publish(new_rows(publisher, 1))
    renamed = VersionRef(lineage=ref.lineage, version=7, digest=ref.digest)
    [data] = [s.data for key, s in publisher.objects.objects.items() if "manifest/1-" in key]
    publisher.objects.put(f"models/shop/a1b2c3/manifest/7-{ref.digest}.json", data)
    with pytest.raises(Refused, match="calls itself a1b2c3/1") as refused:
        load(shelf, renamed)
    assert refused.value.reason == "LineageBroken"


def test_a_delta_on_a_version_of_another_lineage_is_refused(publisher, shelf):
    other = Publisher(publisher.objects, lineage="ffff00")
    theirs = other.publish(random_rows(other, 20, 40))
    delta = publisher.publish(new_rows(publisher, 1), change=lambda m: m.changed(parent=theirs))
    with pytest.raises(Refused, match="of its own lineage") as refused:
        load(shelf, delta, theirs)
    assert refused.value.reason == "LineageBroken"


def test_a_delta_under_another_fingerprint_is_refused_even_where_it_says_the_same(publisher, shelf):
    load(shelf, publisher.latest.ref())
    same = publisher.store.put_transform(b'{ "history_length": 5 }')
    delta = publisher.publish(new_rows(publisher, 1), change=lambda m: m.changed(transform=same))
    with pytest.raises(Refused, match="cannot change the transform") as refused:
        load(shelf, delta)
    assert refused.value.reason == "TransformMismatch"


@pytest.mark.parametrize("base", [False, True], ids=["a delta", "a base"])
def test_another_transform_is_refused(publisher, shelf, base):
    load(shelf, publisher.latest.ref())
    publisher.history_length = 9
    ref = publisher.publish(new_rows(publisher, 1), base=base)
    with pytest.raises(Refused) as refused:
        load(shelf, ref)
    assert refused.value.reason == "TransformMismatch"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(b'{"ids":"base64","history_length":5}', id="other keys"),
        pytest.param(b'{"item_table":"products","history_length":5}', id="other tables"),
        pytest.param(b'{"format_version":2,"history_length":5}', id="a format of the future"),
        pytest.param(b'{"lower_case":true,"history_length":5}', id="a step that is not known"),
        pytest.param(b"no json", id="no document at all"),
    ],
)
def test_a_transform_that_this_program_cannot_do_is_refused(publisher, shelf, document):
    strange = publisher.store.put_transform(document)
    ref = publisher.publish(base=True, change=lambda m: m.changed(transform=strange))
    with pytest.raises(Refused, match="transform") as refused:
        load(shelf, ref)
    assert refused.value.reason == "TransformMismatch"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_refused(publisher, shelf, value):
    load(shelf, publisher.latest.ref())
    rows = new_rows(publisher, 1)
    rows["user"][2] = rows["user"][2].copy()
    rows["user"][2][5] = value
    with pytest.raises(Refused, match=r"1 of 3 rows of user\.rows") as refused:
        load(shelf, publisher.publish(rows))
    assert refused.value.reason == "NonFiniteRows"


@pytest.mark.parametrize("served", ["float16", "int8rows"])
@pytest.mark.parametrize("value", [np.nan, 3e38], ids=["not a number", "what the form cannot hold"])
def test_quantised_rows_that_are_not_finite_are_refused(served, value):
    """R24: a poisoned delta never serves, in whatever form it comes."""
    publisher = Publisher(MemoryObjects(), served=served)
    base = publisher.publish(random_rows(publisher, 20, 40))
    rows = new_rows(publisher, 1)
    rows["user"][2] = np.full(8, value, np.float32)
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        load(shelf, base)
        with pytest.raises(Refused, match=r"1 of 3 rows of user\.rows") as refused:
            load(shelf, publisher.publish(rows))
    assert refused.value.reason == "NonFiniteRows"
    assert set(shelf.held) == {base.digest}


@pytest.mark.parametrize("served", ["float16", "int8rows"])
def test_quantised_rows_are_held_as_they_were_stored(served):
    """R28: what a chain of deltas leaves in memory is what a base of that state brings."""
    publisher = Publisher(MemoryObjects(), served=served)
    publisher.publish(random_rows(publisher, 20, 40))
    for seed in (1, 2):
        chain = publisher.publish(new_rows(publisher, seed, users=5), gone={"user": [9 + seed]})
    base = publisher.publish(base=True)
    with ThreadPoolExecutor(2) as pool:
        ends = [load(Shelf(publisher.store, pool), ref) for ref in (chain, base)]
    for name in ("user", "item"):
        keys = np.array(sorted(publisher.tables[name]), np.int64)
        live = np.array([publisher.tables[name][key] for key in keys.tolist()])
        for version in ends:
            table = version.tables[name]
            stored = table.table.values("rows")[table.slots(keys)]
            assert stored.tobytes() == encode(live, served).tobytes()
        assert ends[0].tables[name].digest == ends[1].tables[name].digest


def test_weights_that_are_not_finite_are_refused(publisher, shelf):
    dense = random_dense(publisher.architecture)
    dense["head.0.bias"][1] = np.nan
    with pytest.raises(Refused, match=r"head\.0\.bias") as refused:
        load(shelf, publisher.publish(dense=dense))
    assert refused.value.reason == "NonFiniteWeights"


@pytest.mark.parametrize(
    "candidates",
    [np.zeros(3, np.float32), np.zeros((2, 2), np.int64)],
    ids=["fractions", "a matrix"],
)
def test_candidates_that_are_no_list_of_keys_are_refused(publisher, shelf, candidates):
    dense = random_dense(publisher.architecture) | {"candidates.popular": candidates}
    with pytest.raises(Refused) as refused:
        load(shelf, publisher.publish(dense=dense))
    assert refused.value.reason == "Malformed"


def test_golden_events_of_another_form_are_refused(publisher, shelf):
    dense = random_dense(publisher.architecture) | {"golden.users": np.zeros(3, np.int64)}
    with pytest.raises(Refused, match="golden") as refused:
        load(shelf, publisher.publish(dense=dense))
    assert refused.value.reason == "Malformed"


def test_a_base_with_other_columns_than_its_lineage_is_refused(publisher, shelf):
    load(shelf, publisher.latest.ref())
    wider = Publisher(publisher.objects, architecture=make_architecture(embedding_dim=12))
    ref = wider.publish(random_rows(wider, 2, 2), version=9)
    with pytest.raises(Refused, match="publish a new lineage") as refused:
        load(shelf, ref)
    assert refused.value.reason == "ColumnsMismatch"


def test_a_chain_longer_than_its_bound_is_refused(publisher, shelf, monkeypatch):
    monkeypatch.setattr("millstream_core.checkpoint.routes.LONGEST_WAY", 3)
    for seed in range(3):
        last = publisher.publish(new_rows(publisher, seed))
    with pytest.raises(Refused, match="does not lead back to a base") as refused:
        load(shelf, last)
    assert refused.value.reason == "LineageBroken"


def test_a_refusal_leaves_no_rows_behind(publisher, shelf):
    load(shelf, publisher.latest.ref())
    sizes = []
    for number in range(1, 20):
        writer = publisher.fork()
        lie = writer.publish(
            new_rows(writer, number, users=20),
            version=number,
            change=lambda m: with_table(m, "item", digest_after="0" * 32),
        )
        with pytest.raises(Refused):
            load(shelf, lie)
        sizes.append(shelf.bytes)
    assert sizes[-1] == sizes[1]


def test_a_store_that_is_away_refuses_nothing(publisher, shelf):
    publisher.objects.fail_with = StoreUnavailable("nobody answers")
    with pytest.raises(StoreUnavailable):
        load(shelf, publisher.latest.ref())
