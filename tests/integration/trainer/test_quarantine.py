"""What was quarantined is not built upon: the trainer goes back and goes on from before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_api.manifest import Channel
from millstream_api.names import CHANNEL_STABLE
from millstream_core.store.layout import manifest_key
from tests.builders.trainer import START, Run, VirtualClock, manifests, state_of, store_of

if TYPE_CHECKING:
    from millstream_api.manifest import Manifest, VersionRef
    from tests.builders.objects import MemoryObjects


def quarantine(objects: MemoryObjects, *digests: str, stable: VersionRef) -> None:
    """As the operator does it."""
    store = store_of(objects)
    found = store.channel(CHANNEL_STABLE)
    channel = Channel(
        target=stable, reason="test", actor="operator", moved_at=START, quarantined=digests
    )
    store.move_channel(CHANNEL_STABLE, channel, etag=found[1] if found else None)


def ancestors(versions: dict[int, Manifest], newest: Manifest) -> list[int]:
    numbers = []
    while newest.parent is not None:
        newest = versions[newest.parent.version]
        numbers.append(newest.version)
    return numbers


def test_a_running_trainer_goes_back_before_the_quarantined_version() -> None:
    clock = VirtualClock(seconds=22)
    run = Run(clock=clock)
    objects = run.objects

    def quarantine_the_third() -> None:
        versions = manifests(objects)
        quarantine(objects, versions[3].ref().digest, stable=versions[2].ref())

    clock.happens(14.5, quarantine_the_third)
    run.run()
    versions = manifests(objects)
    newest = versions[max(versions)]
    found = ancestors(versions, newest)
    assert 3 not in found
    assert 2 in found
    assert run.value("rewinds_total") == 1
    assert run.value("samples_replayed_total") > 0
    # The stream is learned again from version 2 on: every event still counts once.
    undisturbed = manifests(Run(clock=VirtualClock(seconds=22)).run().objects)
    assert state_of(newest) == state_of(undisturbed[max(undisturbed)])


def test_numbers_never_come_twice() -> None:
    clock = VirtualClock(seconds=18)
    run = Run(clock=clock)
    clock.happens(
        13.5,
        lambda: quarantine(
            run.objects,
            manifests(run.objects)[2].ref().digest,
            stable=manifests(run.objects)[1].ref(),
        ),
    )
    run.run()
    versions = manifests(run.objects)
    assert list(versions) == list(range(1, max(versions) + 1))
    after = next(
        version
        for version in versions.values()
        if version.parent is not None and version.parent.version == 1 and version.version > 2
    )
    assert after.watermark is not None
    assert versions[1].watermark is not None
    assert after.watermark.first > versions[1].watermark.last
    learned_since = after.positions["0"] - versions[1].positions["0"]
    assert after.validation.events == learned_since, "scores of the dropped state do not count"


def test_a_restart_passes_over_what_was_quarantined() -> None:
    first = Run(clock=VirtualClock(seconds=15)).run()
    versions = manifests(first.objects)
    newest = max(versions)
    quarantine(first.objects, versions[newest - 1].ref().digest, stable=versions[newest - 2].ref())
    Run(first.objects, clock=VirtualClock(START + 15, seconds=6), process="second").run()
    found = manifests(first.objects)
    assert found[newest + 1].parent == versions[newest - 2].ref()
    assert found[newest + 1].writer_epoch > versions[newest].writer_epoch


def test_with_everything_quarantined_it_begins_anew() -> None:
    first = Run(clock=VirtualClock(seconds=13)).run()
    versions = manifests(first.objects)
    quarantine(first.objects, versions[1].ref().digest, stable=versions[1].ref())
    second = Run(first.objects, clock=VirtualClock(START + 13, seconds=5), process="second").run()
    found = manifests(first.objects)
    begun = found[max(versions) + 1]
    assert (begun.kind, begun.parent) == ("base", None)
    assert second.value("samples_replayed_total") == 0


def test_a_running_trainer_with_everything_quarantined_begins_anew() -> None:
    clock = VirtualClock(seconds=16)
    run = Run(clock=clock)
    clock.happens(
        12.5,
        lambda: quarantine(
            run.objects,
            manifests(run.objects)[1].ref().digest,
            stable=manifests(run.objects)[1].ref(),
        ),
    )
    run.run()
    versions = manifests(run.objects)
    begun = [version for version in versions.values() if version.parent is None]
    assert len(begun) == 2
    undisturbed = manifests(Run(clock=VirtualClock(seconds=16)).run().objects)
    assert state_of(versions[max(versions)]) == state_of(undisturbed[max(undisturbed)])


def test_others_quarantined_do_not_disturb() -> None:
    clock = VirtualClock(seconds=15)
    run = Run(clock=clock)
    clock.happens(
        11.5, lambda: quarantine(run.objects, "ab" * 32, stable=manifests(run.objects)[1].ref())
    )
    run.run()
    assert run.value("rewinds_total") == 0


def test_going_back_never_lowers_the_epoch() -> None:
    """Else a writer that was replaced long ago could fence its successor."""
    objects = Run(clock=VirtualClock(seconds=14)).run().objects
    clock = VirtualClock(START + 14, seconds=8)
    second = Run(objects, clock=clock, process="second")

    def leave_only_a_version_of_an_old_writer() -> None:
        versions = manifests(objects)
        foreign = versions[2].changed(version=max(versions) + 1, writer_epoch=0)
        store = store_of(objects)
        store.objects.put(manifest_key(foreign.ref()), foreign.canonical())
        store.recommit(foreign)  # without a look at the claims, as after a pause
        quarantine(objects, versions[2].ref().digest, stable=versions[1].ref())

    clock.happens(3.5, leave_only_a_version_of_an_old_writer)
    second.run()
    versions = manifests(objects)
    assert second.value("rewinds_total") == 1
    assert versions[max(versions)].writer_epoch >= 2
