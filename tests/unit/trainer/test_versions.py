"""Moving the channel `latest`, and version numbers that others take."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from millstream_api.manifest import Channel, Validation, Watermark
from millstream_api.names import CHANNEL_LATEST
from millstream_core.store import ModelStore, PreconditionFailed, StoreUnavailable
from millstream_trainer.design import Design
from millstream_trainer.model import LiveModel
from millstream_trainer.publishing.decisions import PublishDecision
from millstream_trainer.publishing.snapshots import SealedSnapshot, joined, take_snapshot
from millstream_trainer.publishing.standing import ANCESTORS_KNOWN, Standing
from millstream_trainer.publishing.versions import (
    Writer,
    move_latest,
    version_bytes,
    write_version,
)
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects
from tests.builders.trainer import make_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millstream_api.manifest import VersionRef

DESIGN = Design.of(make_settings())
LINEAGE = DESIGN.lineage()


@pytest.fixture
def writer() -> Iterator[Writer]:
    with ThreadPoolExecutor(2) as pool:
        store = ModelStore(MemoryObjects(), "", "shop")
        yield Writer(store, pool, DESIGN, "shop", "me", "a1", "test")


def latest(writer: Writer) -> Channel:
    found = writer.store.channel(CHANNEL_LATEST)
    assert found is not None
    return found[0]


def version(number: int, lineage: str = LINEAGE):
    return make_manifest(number, lineage=lineage)


def test_the_channel_is_created_and_moves_on(writer: Writer) -> None:
    move_latest(writer, version(1), 5.0)
    assert (latest(writer).target, latest(writer).previous) == (version(1).ref(), None)
    move_latest(writer, version(2), 6.0)
    assert latest(writer).target == version(2).ref()
    assert latest(writer).previous == version(1).ref()
    assert (latest(writer).actor, latest(writer).moved_at) == ("me", 6.0)


def test_the_channel_never_goes_back_within_a_lineage(writer: Writer) -> None:
    move_latest(writer, version(5), 5.0)
    move_latest(writer, version(4), 6.0)
    assert latest(writer).target == version(5).ref()


def test_another_lineage_takes_the_channel_over(writer: Writer) -> None:
    move_latest(writer, version(5), 5.0)
    move_latest(writer, version(1, "b" * 12), 6.0)
    assert latest(writer).target.lineage == "b" * 12


def test_what_others_wrote_into_the_channel_stays(writer: Writer) -> None:
    move_latest(writer, version(1), 5.0)
    found = writer.store.channel(CHANNEL_LATEST)
    assert found is not None
    marked = found[0].changed(quarantined=("ab" * 32,))
    writer.store.move_channel(CHANNEL_LATEST, marked, etag=found[1])
    move_latest(writer, version(2), 6.0)
    assert latest(writer).quarantined == ("ab" * 32,)


class Contended(ModelStore):
    """Another writer is faster so many times."""

    def __init__(self, losses: int) -> None:
        super().__init__(MemoryObjects(), "", "shop")
        self.losses = losses

    def move_channel(self, name: str, channel: Channel, *, etag: str | None) -> str:
        if self.losses > 0:
            self.losses -= 1
            raise PreconditionFailed(name)
        return super().move_channel(name, channel, etag=etag)


def test_a_lost_race_for_the_channel_is_run_again() -> None:
    with ThreadPoolExecutor(1) as pool:
        writer = Writer(Contended(2), pool, DESIGN, "shop", "me", "a1", "test")
        move_latest(writer, version(1), 5.0)
        assert latest(writer).target == version(1).ref()


def test_races_are_not_run_for_ever() -> None:
    with ThreadPoolExecutor(1) as pool:
        writer = Writer(Contended(10**9), pool, DESIGN, "shop", "me", "a1", "test")
        with pytest.raises(StoreUnavailable, match="moved by others"):
            move_latest(writer, version(1), 5.0)


def make_snapshot(number: int = 1) -> SealedSnapshot:
    snapshot = take_snapshot(
        LiveModel.fresh(DESIGN, 0.001, torch.device("cpu")),
        PublishDecision("base", "FirstVersion"),
        None,
        Validation(events=0),
        number=number,
        now=5.0,
    )
    return SealedSnapshot.of(snapshot)


def test_numbers_are_not_tried_for_ever(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every number is taken by somebody else just before."""
    commit: Callable[[object], VersionRef] = writer.store.commit

    def taken(manifest):
        commit(manifest.changed(writer="somebody", writer_epoch=0))
        return commit(manifest)

    monkeypatch.setattr(writer.store, "commit", taken)
    with pytest.raises(StoreUnavailable, match="in a row"):
        write_version(writer, make_snapshot(), Standing(next_version=1, writer_epoch=1))


def test_attempts_never_share_a_folder(writer: Writer) -> None:
    standing = Standing(next_version=1, writer_epoch=1)
    first = write_version(writer, make_snapshot(1), standing)
    second = write_version(writer, make_snapshot(2), standing.after(first, first.ref()))
    folders = [manifest.dense["serve"].path.split("/")[1] for manifest in (first, second)]
    assert folders == ["1-a1.1", "2-a1.2"]
    assert writer.store.transform(first.transform) == DESIGN.transform.canonical()


def test_bytes_are_counted_by_group(writer: Writer) -> None:
    manifest = write_version(writer, make_snapshot(), Standing(next_version=1, writer_epoch=1))
    counted = version_bytes(manifest)
    assert counted["serve"] == manifest.dense["serve"].bytes, "no rows yet"
    assert counted["train"] == manifest.dense["train"].bytes


def test_a_standing_remembers_its_ancestors_up_to_a_bound() -> None:
    standing = Standing(next_version=1, writer_epoch=1)
    for number in range(1, ANCESTORS_KNOWN + 10):
        manifest = make_manifest(number)
        standing = standing.after(manifest, manifest.ref())
    assert standing.next_version == ANCESTORS_KNOWN + 10
    assert len(standing.ancestors) == ANCESTORS_KNOWN
    assert standing.ancestors[0] == manifest.ref().digest
    assert standing.descends_from((make_manifest(20).ref().digest,))
    assert not standing.descends_from((make_manifest(9).ref().digest,))
    assert not standing.descends_from(())


def test_a_chain_knows_what_its_base_and_its_deltas_weigh() -> None:
    """R16: what the trainer publishes a base by, and a reader judges a cold start by."""
    standing = Standing(next_version=1, writer_epoch=1)
    base = make_manifest(1, chain=standing.chain(1, 100, is_base=True))
    standing = standing.after(base, base.ref())
    delta = make_manifest(2, base.ref(), chain=standing.chain(2, 30, is_base=False))
    chain = standing.after(delta, delta.ref()).chain(3, 25, is_base=False)
    assert (chain.length, chain.bytes, chain.base_bytes) == (2, 55, 100)
    assert standing.chain(3, 200, is_base=True).base_bytes == 200


def test_spans_of_failed_and_of_new_events_join() -> None:
    early, late = Watermark(first=1, last=2), Watermark(first=3, last=4)
    assert joined(None, None) is None
    assert joined(None, early) == joined(early, None) == early
    assert joined(late, early) == Watermark(first=1, last=4)
