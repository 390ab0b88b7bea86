"""A whole trainer against a store in memory: what it publishes, and how it goes on."""

from __future__ import annotations

from itertools import pairwise

import pytest

from millstream_api.manifest import Watermark
from millstream_api.names import CHANNEL_LATEST
from millstream_core.store import IntegrityError
from millstream_trainer.design import Design
from millstream_trainer.publishing.snapshots import joined
from tests.builders.trainer import (
    START,
    RecordSource,
    Run,
    VirtualClock,
    make_record,
    make_settings,
    manifests,
    state_of,
    store_of,
)


def test_a_base_first_then_deltas_and_a_base_again() -> None:
    run = Run().run()
    versions = manifests(run.objects)
    kinds = [version.kind for version in versions.values()]
    assert list(versions) == list(range(1, len(kinds) + 1))
    assert kinds[:6] == ["base", "delta", "delta", "delta", "base", "delta"]


def test_every_version_names_its_parent_and_its_chain() -> None:
    versions = manifests(Run().run().objects)
    assert versions[1].parent is None
    for number in range(2, len(versions) + 1):
        version, parent = versions[number], versions[number - 1]
        assert version.parent == parent.ref()
        assert version.chain.length == (0 if version.kind == "base" else parent.chain.length + 1)
        assert version.chain.base_version == number - version.chain.length
        for name, table in version.tables.items():
            assert table.digest_before == parent.tables[name].digest_after
            if version.kind == "delta":
                assert table.shards[0].rows == table.touched
            else:
                assert table.shards[0].rows == table.rows


def test_versions_come_at_their_interval() -> None:
    versions = list(manifests(Run().run().objects).values())
    gaps = [later.created_at - earlier.created_at for earlier, later in pairwise(versions[:-1])]
    assert gaps == pytest.approx([1.0] * len(gaps), abs=0.11)


def test_positions_and_watermarks_cover_the_stream_without_gap() -> None:
    versions = manifests(Run().run().objects)
    assert versions[1].watermark is not None
    assert versions[1].watermark.first == START
    for number in range(2, len(versions) + 1):
        earlier, later = versions[number - 1].watermark, versions[number].watermark
        assert earlier is not None
        assert later is not None
        assert later.first == pytest.approx(earlier.last + 1 / 200, abs=1e-3)
        last = START + (versions[number].positions["0"] - 1) / 200
        assert later.last == pytest.approx(last, abs=1e-3)


def test_latest_follows_each_version() -> None:
    run = Run().run()
    versions = manifests(run.objects)
    found = store_of(run.objects).channel(CHANNEL_LATEST)
    assert found is not None
    assert found[0].target == versions[max(versions)].ref()
    assert found[0].previous == versions[max(versions) - 1].ref()


def test_progress_says_what_is_published() -> None:
    run = Run().run()
    versions = manifests(run.objects)
    last, report = versions[max(versions)], run.reports[-1]
    assert [report.phase for report in run.reports[:2]] == ["Restoring", "Training"]
    assert report.phase == "Draining"
    assert report.published == last.ref()
    assert report.published_watermark == last.watermark
    assert report.store.ok
    assert (report.events, report.step) == (last.positions["0"], last.step)
    assert report.events_per_second == pytest.approx(200, rel=0.15)
    assert report.rows == {name: table.rows for name, table in last.tables.items()}


def test_metrics_count_what_happened() -> None:
    run = Run().run()
    versions = manifests(run.objects)
    assert run.value("samples_trained_total") == versions[max(versions)].positions["0"]
    assert run.value("versions_published_total", kind="base") == sum(
        version.kind == "base" for version in versions.values()
    )
    assert run.value("checkpoint_stall_seconds_count") == len(versions)
    assert run.value("checkpoint_bytes", kind="delta", group="serve") > 0
    assert run.value("published_version") == max(versions)
    assert run.value("store_ok") == 1


def test_a_restart_continues_as_if_nothing_had_been() -> None:
    undisturbed = manifests(Run(clock=VirtualClock(seconds=24)).run().objects)
    first = Run(clock=VirtualClock(seconds=12)).run()
    second = Run(first.objects, clock=VirtualClock(START + 12, seconds=12)).run()
    found = manifests(second.objects)
    assert state_of(found[max(found)]) == state_of(undisturbed[max(undisturbed)])
    assert second.value("samples_replayed_total") == 0
    assert found[max(found)].writer_epoch == found[1].writer_epoch + 1


def test_the_same_stream_gives_the_same_versions() -> None:
    first, second = (manifests(Run().run().objects) for _ in range(2))
    assert [state_of(version) for version in first.values()] == [
        state_of(version) for version in second.values()
    ]


def test_another_design_begins_a_lineage_of_its_own() -> None:
    narrow = Run(clock=VirtualClock(seconds=12)).run()
    before = store_of(narrow.objects).channel(CHANNEL_LATEST)
    assert before is not None
    wide = make_settings(embedding_dim=12, base_every=100, publish_interval_seconds=1.1)
    Run(narrow.objects, wide, clock=VirtualClock(seconds=11.5)).run()
    versions = manifests(narrow.objects, wide)
    assert len(versions) == 1
    assert versions[1].kind == "base"
    assert versions[1].parent is None
    found = store_of(narrow.objects).channel(CHANNEL_LATEST)
    assert found is not None
    assert found[0].target.lineage == Design.of(wide).lineage()
    assert found[0].previous == before[0].target


def test_malformed_events_are_counted_and_skipped() -> None:
    records = [
        make_record(user_id=n % 7, item_id=n % 11, label=n % 2, event_time=START + n / 100)
        for n in range(1500)
    ]
    for n in range(0, 1500, 10):
        records[n] = make_record(label="yes") if n % 20 else None
    source = RecordSource(records, [START + n / 100 for n in range(1500)])
    run = Run(source=source, clock=VirtualClock(seconds=16)).run()
    versions = manifests(run.objects)
    assert versions[max(versions)].positions == {"0": 1500}
    assert run.value("samples_trained_total") == 1350
    assert run.value("samples_rejected_total", reason="WrongType") == 75
    assert run.reports[-1].rejected == {"NotAnObject": 75, "WrongType": 75}


def test_a_batch_of_nothing_but_rubbish_is_passed() -> None:
    records = [None] * 300
    run = Run(source=RecordSource(records, [START + n / 100 for n in range(300)])).run()
    assert run.reports[-1].rejected == {"NotAnObject": 300}
    assert run.trainer.model.positions == {"0": 300}
    assert not manifests(run.objects), "nothing was learned, so there is nothing to publish"


def test_an_idle_stream_publishes_nothing_more() -> None:
    records = [make_record(user_id=n, event_time=START + n / 10) for n in range(110)]
    source = RecordSource(records, [START + n / 10 for n in range(110)])
    run = Run(source=source, clock=VirtualClock(seconds=30)).run()
    versions = manifests(run.objects)
    assert len(versions) == 2
    assert joined(versions[1].watermark, versions[2].watermark) == Watermark(
        first=START, last=START + 10.9
    )


def test_too_new_a_version_is_not_overwritten() -> None:
    """An older trainer in front of a newer one's versions trains, but publishes nothing."""
    first = Run().run()
    store, lineage = store_of(first.objects), Design.of(make_settings()).lineage()
    newest = max(manifests(first.objects))
    manifest = manifests(first.objects)[newest].changed(
        version=newest + 1, min_reader_version=99, parent=None
    )
    store.commit(manifest)
    second = Run(first.objects, clock=VirtualClock(START + 20, seconds=15)).run()
    assert store.commits(lineage)[-1] == newest + 1
    assert second.reports[-1].store.reason == "FormatTooNew"
    assert "upgrade" in second.reports[-1].store.message
    assert second.value("samples_trained_total") > 0
    with pytest.raises(IntegrityError):
        store_of(first.objects).manifest(manifest.ref())
