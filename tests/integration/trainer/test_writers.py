"""Two writers of one lineage, and versions that cannot be read."""

from __future__ import annotations

import pytest

from millstream_core.store.layout import manifest_key
from millstream_trainer.design import Design
from millstream_trainer.publishing import restoring
from millstream_trainer.publishing.versions import Fenced
from tests.builders.objects import MemoryObjects
from tests.builders.trainer import (
    START,
    Run,
    VirtualClock,
    make_settings,
    manifests,
    state_of,
    store_of,
)

LINEAGE = Design.of(make_settings()).lineage()


def commit_foreign(objects: MemoryObjects, **changes: object) -> int:
    """Another writer commits a delta on top of the newest version; returns its number."""
    versions = manifests(objects)
    newest = versions[max(versions)]
    number = newest.version + 1
    foreign = newest.changed(
        version=number, kind="delta", parent=newest.ref(), writer="somebody", **changes
    )
    store = store_of(objects)
    store.objects.put(manifest_key(foreign.ref()), foreign.canonical())
    store.recommit(foreign)  # without a look at the claims, as by a writer that was paused after it
    return number


def test_a_trainer_that_was_replaced_stops() -> None:
    clock = VirtualClock(seconds=20)
    old = Run(clock=clock)
    clock.happens(12.5, lambda: commit_foreign(old.objects, writer_epoch=99))
    with pytest.raises(Fenced, match="another trainer of this model has taken over"):
        old.run()
    versions = manifests(old.objects)
    assert versions[max(versions)].writer == "somebody"


@pytest.mark.parametrize("epoch", [0, 1], ids=["an older writer", "a writer of the same epoch"])
def test_a_number_taken_by_another_is_passed_over(epoch: int) -> None:
    clock = VirtualClock(seconds=20)
    run = Run(clock=clock)
    taken: list[int] = []
    clock.happens(12.5, lambda: taken.append(commit_foreign(run.objects, writer_epoch=epoch)))
    run.run()
    versions = manifests(run.objects)
    [number] = taken
    assert versions[number].writer == "somebody"
    after = versions[number + 1]
    assert after.parent == versions[number - 1].ref(), "it builds upon its own state"
    undisturbed = manifests(Run().run().objects)
    assert state_of(versions[max(versions)]) == state_of(undisturbed[max(undisturbed)])


def test_of_two_live_trainers_one_goes_on() -> None:
    """R12: both restored the same version; the one that claimed first finds itself replaced."""
    first = Run(clock=VirtualClock(seconds=12)).run()
    clock = VirtualClock(START + 12, seconds=10)
    older = Run(first.objects, clock=clock, process="older")
    younger = Run(first.objects, clock=VirtualClock(START + 13, seconds=12), process="younger")
    clock.happens(1.0, younger.run)
    with pytest.raises(Fenced, match="another trainer of this model has taken over"):
        older.run()
    versions = manifests(first.objects)
    epochs = [versions[number].writer_epoch for number in sorted(versions)]
    assert epochs == sorted(epochs)
    assert epochs[-1] == 3
    line = [ref for ref, _ in store_of(first.objects).ancestry(versions[max(versions)].ref())]
    steps = [versions[ref.version].positions for ref in line]
    assert steps == sorted(steps, key=lambda each: -sum(each.values())), "nothing counts twice"


def test_a_commit_after_the_successor_began_is_a_leaf_and_not_announced() -> None:
    """The successor claims between the old writer's look at the claims and its commit."""
    clock = VirtualClock(seconds=20)
    run = Run(clock=clock)
    store = store_of(run.objects)

    class Paused(MemoryObjects):
        def put(self, key: str, data: bytes, **conditions: object) -> str:
            if "/commit/" in key and clock.now() > START + 12:
                store.claim(LINEAGE, "successor", "s")
            return MemoryObjects.put(run.objects, key, data, **conditions)  # type: ignore[arg-type]

    run.objects.put = Paused().put  # type: ignore[method-assign]
    with pytest.raises(Fenced):
        run.run()
    versions = manifests(run.objects)
    latest = store.channel("latest")
    assert latest is not None
    assert latest[0].target.version == max(versions) - 1


def test_a_successor_takes_over_and_the_old_one_stops() -> None:
    clock = VirtualClock(seconds=30)
    old = Run(clock=clock)

    def succeed() -> None:
        Run(old.objects, clock=VirtualClock(START + 13, seconds=3), process="new").run()

    clock.happens(13.0, succeed)
    with pytest.raises(Fenced):
        old.run()
    versions = manifests(old.objects)
    assert versions[max(versions)].writer_epoch == versions[1].writer_epoch + 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-8], id="truncated"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="with a flipped bit"),
    ],
)
@pytest.mark.parametrize(
    "part", ["serve/item/0-1023.rows", "train/dense.safetensors", "train/user/0-1023.accumulator"]
)
def test_a_version_that_cannot_be_read_is_passed_over(change, part: str) -> None:
    """Restored from the one before; the difference is learned again."""
    first = Run(clock=VirtualClock(seconds=13)).run()
    versions = manifests(first.objects)
    newest = max(versions)
    assert versions[newest].kind == "delta"
    folder = versions[newest].dense["serve"].path.rpartition("/serve/")[0]
    first.objects.damage(f"{folder}/{part}", change)
    Run(first.objects, clock=VirtualClock(START + 13, seconds=9), process="second").run()
    found = manifests(first.objects)
    assert found[newest + 1].parent == versions[newest - 1].ref()
    undisturbed = manifests(Run(clock=VirtualClock(seconds=22)).run().objects)
    assert state_of(found[max(found)]) == state_of(undisturbed[max(undisturbed)])


def test_weights_that_do_not_fit_are_not_restored() -> None:
    first = Run(clock=VirtualClock(seconds=14)).run()
    versions = manifests(first.objects)
    newest = versions[max(versions)]
    swapped = {"serve": newest.dense["serve"], "train": newest.dense["serve"]}
    number = commit_foreign(first.objects, dense=swapped)
    second = Run(first.objects, clock=VirtualClock(START + 14, seconds=3), process="2").run()
    found = manifests(second.objects)
    assert found[number + 1].parent == newest.ref()


def test_a_chain_longer_than_what_is_remembered_is_restored_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restoring, "ANCESTORS_KNOWN", 1)
    settings = make_settings(base_every=100)
    first = Run(settings=settings, clock=VirtualClock(seconds=16)).run()
    newest = max(manifests(first.objects))
    assert newest > 4
    Run(first.objects, settings, clock=VirtualClock(START + 16, seconds=3), process="2").run()
    found = manifests(first.objects)
    assert found[newest + 1].parent == found[newest].ref()


def test_versions_of_which_none_can_be_read_are_left_alone() -> None:
    first = Run(clock=VirtualClock(seconds=11)).run()
    versions = manifests(first.objects)
    for version in versions.values():
        folder = version.dense["serve"].path.rpartition("/serve/")[0]
        first.objects.damage(f"{folder}/serve/item/0-1023.rows", lambda data: data[:-8])
    second = Run(first.objects, clock=VirtualClock(START + 11, seconds=12), process="2").run()
    assert manifests(first.objects).keys() == versions.keys()
    assert second.reports[-1].store.reason == "Truncated"
    assert second.reports[-1].events > 0, "training goes on meanwhile"


def test_rows_that_add_up_to_another_state_are_not_restored() -> None:
    """A chain whose parts are sound but do not belong together."""
    first = Run(clock=VirtualClock(seconds=14)).run()
    versions = manifests(first.objects)
    newest = versions[max(versions)]
    wrong = newest.tables | {"item": newest.tables["item"].changed(digest_after="00" * 16)}
    number = commit_foreign(first.objects, tables=wrong)
    second = Run(first.objects, clock=VirtualClock(START + 14, seconds=3), process="2").run()
    found = manifests(second.objects)
    assert found[number + 1].parent == newest.ref()
