"""R29: an erased key leaves trainer, store and servers, and comes back by no way at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch

from millstream_api.manifest import Group
from millstream_core.checkpoint import read_table
from millstream_core.erasure.entries import begin_ledger, record
from millstream_core.erasure.requests import finish, lift
from millstream_core.upkeep.collecting import collect
from millstream_core.upkeep.compaction import Compactor, compact
from millstream_core.upkeep.retention import RetentionRules
from millstream_serving.loading.shelf import Shelf
from millstream_trainer.design import Design
from millstream_trainer.publishing.restoring import Restorer, restore_newest
from tests.builders.erasure import SALT, forget, redactor_at
from tests.builders.mishaps import Connection, Inline, Mishap
from tests.builders.objects import MemoryObjects
from tests.builders.trainer import (
    START,
    Run,
    VirtualClock,
    make_settings,
    state_of,
    store_of,
)
from tests.builders.trainer import manifests as manifests_of

if TYPE_CHECKING:
    from millstream_api.erasure import ErasureReport
    from millstream_api.manifest import Manifest
    from millstream_trainer.model import LiveModel

SETTINGS = make_settings(
    tables={
        "user": {"admission": {"counter": {"threshold": 3}}, "servedAs": "int8"},
        "item": {"defaultRow": "SharedOov"},
    }
)


def manifests(objects) -> dict[int, Manifest]:
    """All committed versions by number."""
    return manifests_of(objects, SETTINGS)


def erase(objects, subject, *keys, run="e1") -> ErasureReport:
    return forget(objects, subject, *keys, run=run, prefix="tests")


def trained(objects=None, *, begin=0.0, seconds=20.0, **happenings) -> Run:
    """A trainer that runs from `begin` on; happenings: s14_5=what happens then."""
    clock = VirtualClock(START + begin, seconds=seconds)
    run = Run(objects, SETTINGS, clock=clock, process=f"p{begin:.0f}")
    for when, happens in happenings.items():
        clock.happens(float(when[1:].replace("_", ".")), lambda happens=happens: happens(run))
    return run.run()


def busiest(model: LiveModel, table: str) -> int:
    """A key that comes all the time."""
    rows = model.tables[table].snapshot(whole=True).rows
    return int(rows.keys[np.argmax(rows.columns["usage"][:, 0])])


@pytest.fixture(scope="module")
def busy() -> dict[str, int]:
    model = trained().trainer.model
    return {"user": busiest(model, "user"), "item": busiest(model, "item")}


@pytest.fixture(scope="module")
def grown(busy) -> tuple[MemoryObjects, int]:
    """Some versions, and a user in them."""
    return trained(seconds=16.0).objects, busy["user"]


def has(model: LiveModel, subject: str, key: int) -> bool:
    """Whether anything of a live model names this key."""
    keys = np.array([key])
    tables = {"user": ("user", "history"), "item": ("item",)}[subject]
    held = any((model.tables[name].slots(keys) >= 0).any() for name in tables)
    waiting = model.admission_memory().get(f"{subject}.waiting")
    held |= waiting is not None and (waiting.slots(keys) >= 0).any()
    if subject == "item":
        history = model.tables["history"]
        held |= bool((history.values("items")[history.all_slots()] == key).any())
        held |= key in model.candidates.popular() or key in model.candidates.newest()
    return bool(held)


def versions_with(objects, key: int) -> list[int]:
    """Versions in whose own rows or tombstones of users the key stands."""
    store, found = store_of(objects), []
    for number, manifest in manifests(objects).items():
        tables = [manifest.tables[name] for name in ("user", "history")]
        tables += [table for name, table in manifest.admission.items() if name == "user.waiting"]
        for table in tables:
            rows = read_table(store, Inline(), manifest.lineage, table, get_args(Group))
            if key in rows.keys or key in rows.gone:
                found.append(number)
    return sorted(set(found))


@pytest.mark.parametrize("subject", ["user", "item"])
def test_a_running_trainer_forgets_a_key_and_learns_it_no_more(busy, subject) -> None:
    key = busy[subject]
    run = trained(
        s14_5=lambda run: erase(run.objects, subject, key),
        seconds=25.0,
    )
    assert not has(run.trainer.model, subject, key)
    seqs = [manifest.erasure_seq for manifest in manifests(run.objects).values()]
    assert seqs == [1] * len(seqs)
    report = erase(run.objects, subject, key, run="e2")
    assert report.search is not None
    assert report.search.found == ()
    assert report.lineages == ()


def test_without_an_erasure_the_key_is_all_over_the_place(busy) -> None:
    """What the others do not find is there to be found."""
    run = trained(seconds=25.0)
    assert all(has(run.trainer.model, subject, key) for subject, key in busy.items())
    assert len(versions_with(run.objects, busy["user"])) > 3


@pytest.mark.parametrize("subject", ["user", "item"])
def test_going_on_from_the_store_is_going_on_from_live_state(busy, subject) -> None:
    """R7: what was taken out of versions is what was taken out of the live model."""

    def forgotten(run: Run) -> None:
        erase(run.objects, subject, busy[subject])

    undisturbed = trained(s14_5=forgotten, seconds=25.0)
    first = trained(s14_5=forgotten, seconds=19.0)
    second = trained(first.objects, begin=19.0, seconds=6.0)
    newest, other = (manifests(run.objects) for run in (undisturbed, second))
    assert state_of(other[max(other)]) == state_of(newest[max(newest)])


def test_erased_rolled_back_restarted_and_compacted_a_key_never_resolves(busy) -> None:
    """R29, as it is named: erase, roll back three versions, restart, compact; search bytes."""
    key = busy["user"]
    first = trained(seconds=16.0)
    objects, keys = first.objects, np.array([key])
    store = store_of(objects)
    refs = [manifest.ref() for manifest in manifests(objects).values()][-4:]
    running = shelf_with(objects, refs)
    assert all(version.tables["user"].slots(keys) >= 0 for version in running.held.values())
    report = erase(objects, "user", key)
    assert report.search is not None
    assert report.search.found == ()
    second = trained(objects, begin=16.0, seconds=6.0)
    assert not has(second.trainer.model, "user", key)
    newest = list(manifests(objects).values())[-1].ref()
    compact(Compactor(store, Inline(), "c1", "test"), newest)
    running.load(newest, lambda _: True, lambda _: None)
    restarted = shelf_with(objects, [*refs, newest])
    for shelf in (running, restarted):
        for ref in (newest, *reversed(refs)):  # rolled back, one version after the other
            version = shelf.held[ref.digest]
            assert version.tables["user"].slots(keys).tolist() == [-1]
            assert version.tables["history"].slots(keys).tolist() == [-1]
    proof = erase(objects, "user", key, run="e2")
    assert proof.search is not None
    assert proof.search.found == ()
    assert versions_with(objects, key) == []


def shelf_with(objects, refs) -> Shelf:
    shelf = Shelf(store_of(objects), Inline())
    for ref in refs:
        if ref.digest not in shelf.held:
            shelf.load(ref, {each.digest for each in refs}.__contains__, lambda _: None, refs)
    return shelf


def test_a_version_on_its_way_during_the_erasure_is_caught_by_maintenance(busy) -> None:
    """R29: it was begun before the entry and committed after everything was searched."""
    key = busy["user"]
    objects = MemoryObjects()
    connection = Connection(objects)

    def races() -> None:
        connection.expect(
            Mishap(1, "others act", "/commit/", lambda: erase(objects, "user", key) and None)
        )

    run = Run(connection, SETTINGS, clock=VirtualClock(seconds=20.0))
    run.clock.happens(14.5, races)
    run.run()
    assert not has(run.trainer.model, "user", key)
    held = {number: manifest.erasure_seq for number, manifest in manifests(objects).items()}
    [late] = [number for number, seq in held.items() if seq == 0]
    assert versions_with(objects, key) == [late]
    assert max(held) > late
    assert [done.versions for done in finish(redactor_at(objects, "m1", "tests"))] == [1]
    assert versions_with(objects, key) == []
    objects.now += 10_000
    collect(store_of(objects), RetentionRules(100, 100), "c")
    proof = erase(objects, "user", key, run="e2")
    assert proof.search is not None
    assert proof.search.found == ()
    again = trained(objects, begin=20.0, seconds=3.0)
    assert again.value("publish_failures_total", reason="LineageBroken") == 0
    assert again.trainer.model.events > run.trainer.model.events


@pytest.mark.parametrize("place", ["has a row", "waits for one"])
def test_a_store_with_an_unfinished_erasure_is_restored_without_the_key(busy, place) -> None:
    """A crash between the entry and everything else."""
    first = trained(seconds=16.0)
    objects, store = first.objects, store_of(first.objects)
    key = busy["user"]
    if place == "waits for one":
        waiting = first.trainer.model.admission_memory()["user.waiting"]
        key = int(waiting.keys_at(waiting.all_slots()).min())
    assert has(first.trainer.model, "user", key)
    record(store, begin_ledger(store, SALT), "erase", "user", [key], at=0, reason="")
    run = trained(objects, begin=16.0, seconds=1.0)
    assert not has(run.trainer.model, "user", key)
    newest = manifests(objects)[max(manifests(objects))]
    assert (newest.kind, newest.erasure_seq) == ("delta", 1), "its base still holds the key"

    again = trained(objects, begin=17.0, seconds=3.0)
    assert not has(again.trainer.model, "user", key)
    assert again.trainer.model.events > run.trainer.model.events
    assert manifests(objects)[newest.version + 1].parent == newest.ref(), "it was restored"
    assert [done.versions > 0 for done in finish(redactor_at(objects, "m1", "tests"))] == [True]
    assert versions_with(objects, key) == []
    last = trained(objects, begin=20.0, seconds=3.0)
    assert last.trainer.model.events > again.trainer.model.events


@pytest.mark.parametrize("call", range(1, 60, 6))
def test_a_version_redacted_while_it_is_restored_is_restored_all_the_same(grown, call) -> None:
    """Its manifest was read before, and its files are gone: nothing needs to be learned again."""
    grown_objects, key = grown
    objects = grown_objects.copied()
    connection = Connection(objects)
    connection.expect(Mishap(call, "others act", "", lambda: erase(objects, "user", key) and None))
    restorer = Restorer(
        store_of(connection),
        Inline(),
        Design.of(SETTINGS),
        0.0,
        torch.device("cpu"),
        SETTINGS.tables,
    )
    model, standing = restore_newest(restorer, (), epoch=99)
    assert model is not None
    assert standing.parent_ref == manifests(grown_objects)[max(manifests(grown_objects))].ref()


def test_a_lifted_key_is_learned_again_from_new_events_alone(busy) -> None:
    key = busy["user"]
    objects = trained(seconds=16.0).objects
    erase(objects, "user", key)
    lift(store_of(objects), "l1", "user", [key], model="shop", salt=SALT)
    versions = set(manifests(objects))
    run = trained(objects, begin=16.0, seconds=6.0)
    assert has(run.trainer.model, "user", key)
    assert finish(redactor_at(objects, "m1", "tests")) == ()
    assert set(versions_with(objects, key)).isdisjoint(versions)


def test_nothing_is_published_while_it_is_not_known_who_was_erased() -> None:
    objects = MemoryObjects()

    def spoil(_: Run) -> None:
        store = store_of(objects)
        record(store, begin_ledger(store, SALT), "erase", "user", [1], at=0, reason="")
        objects.damage("erasure/0", lambda data: data[:-1])

    run = trained(objects, s14_5=spoil, seconds=20.0)
    assert run.value("publish_failures_total", reason="Malformed") > 0
    times = [manifest.created_at for manifest in manifests(objects).values()]
    assert max(times) <= START + 14.5


def test_a_model_that_begins_after_an_erasure_begins_without_the_key(busy) -> None:
    objects = MemoryObjects()
    erase(objects, "user", busy["user"])
    run = trained(objects, seconds=14.0)
    assert not has(run.trainer.model, "user", busy["user"])
    assert {manifest.erasure_seq for manifest in manifests(objects).values()} == {1}
    assert versions_with(objects, busy["user"]) == []
