"""Versions exist wholly or not at all; pointers move by swap; bytes are verified before use."""

import pytest

from millstream_api.manifest import FORMAT_VERSION, Channel
from millstream_core.store import (
    IntegrityError,
    ModelStore,
    PreconditionFailed,
    StoreUnavailable,
    VersionTaken,
    probe,
)
from tests.builders.manifests import SHA, make_manifest
from tests.builders.objects import MemoryObjects


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def store(objects: MemoryObjects) -> ModelStore:
    return ModelStore(objects, "runs", "shop")


def test_a_committed_version_is_found_by_number_and_by_reference(store: ModelStore) -> None:
    ref = store.commit(make_manifest(version=7))
    assert store.commits(ref.lineage) == [7]
    assert store.resolve(ref.lineage, 7) == ref
    assert store.manifest(ref).version == 7


def test_versions_are_listed_by_number_not_by_text(store: ModelStore) -> None:
    for version in (10, 9, 100):
        store.commit(make_manifest(version=version))
    assert store.commits(make_manifest().lineage) == [9, 10, 100]


def test_a_second_writer_of_a_number_learns_who_won(store: ModelStore) -> None:
    won = store.commit(make_manifest(version=3, writer="first", writer_epoch=4))
    with pytest.raises(VersionTaken) as lost:
        store.commit(make_manifest(version=3, writer="second"))
    assert lost.value.existing == won
    assert lost.value.writer_epoch == 4
    assert store.resolve(won.lineage, 3) == won


def test_a_manifest_without_its_commit_does_not_exist(
    store: ModelStore, objects: MemoryObjects
) -> None:
    ref = store.commit(make_manifest(version=3))
    objects.delete(next(key for key in objects.objects if "/commit/" in key))
    assert store.commits(ref.lineage) == []


def test_ancestry_goes_from_a_version_to_its_base(store: ModelStore) -> None:
    base = store.commit(make_manifest(version=1))
    second = store.commit(make_manifest(version=2, parent=base))
    # Version 3 was rejected; 4 goes on from 2.
    store.commit(make_manifest(version=3, parent=second))
    fourth = store.commit(make_manifest(version=4, parent=second))
    assert [ref.version for ref, _ in store.ancestry(fourth)] == [4, 2, 1]
    assert [ref.version for ref, _ in store.ancestry(fourth, limit=2)] == [4, 2]


def test_a_missing_parent_breaks_the_lineage(store: ModelStore, objects: MemoryObjects) -> None:
    base = store.commit(make_manifest(version=1))
    second = store.commit(make_manifest(version=2, parent=base))
    objects.delete(next(key for key in objects.objects if "manifest/1-" in key))
    with pytest.raises(IntegrityError) as broken:
        list(ModelStore(objects, "runs", "shop").ancestry(second))
    assert broken.value.reason == "LineageBroken"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda data: data[:-1], "Truncated", id="cut short"),
        pytest.param(lambda data: data[:3] + b"!" + data[4:], "DigestMismatch", id="bit flipped"),
    ],
)
def test_altered_data_is_refused(
    store: ModelStore, objects: MemoryObjects, change: object, reason: str
) -> None:
    obj = store.put_data("l", "data/1-a/x", b"0123456789")
    objects.damage("data/1-a/x", change)  # type: ignore[arg-type]
    with pytest.raises(IntegrityError) as refused:
        store.get_data("l", obj)
    assert refused.value.reason == reason


def test_empty_data_is_not_asked_for_and_still_verified(
    store: ModelStore, objects: MemoryObjects
) -> None:
    obj = store.put_data("l", "data/1-a/x", b"")
    objects.delete(next(iter(objects.objects)))
    assert store.get_data("l", obj) == b""
    with pytest.raises(IntegrityError) as refused:
        store.get_data("l", obj.model_copy(update={"sha256": SHA}))
    assert refused.value.reason == "DigestMismatch"


def test_missing_data_is_refused(store: ModelStore, objects: MemoryObjects) -> None:
    obj = store.put_data("l", "data/1-a/x", b"0123456789")
    objects.delete(next(iter(objects.objects)))
    with pytest.raises(IntegrityError, match="not there"):
        store.get_data("l", obj)


def test_an_altered_manifest_is_refused(store: ModelStore, objects: MemoryObjects) -> None:
    ref = store.commit(make_manifest(version=1))
    objects.damage("/manifest/", lambda data: data.replace(b'"step":10', b'"step":11'))
    with pytest.raises(IntegrityError, match="altered"):
        store.manifest(ref)


def test_a_newer_format_asks_for_an_upgrade(store: ModelStore) -> None:
    ref = store.commit(make_manifest(min_reader_version=FORMAT_VERSION + 1))
    with pytest.raises(IntegrityError, match="upgrade it") as refused:
        store.manifest(ref)
    assert refused.value.reason == "FormatTooNew"


def test_unknown_fields_of_a_manifest_survive(store: ModelStore) -> None:
    ref = store.commit(make_manifest(from_next_year={"a": 1}))
    kept = store.manifest(ref)
    assert kept.ref() == ref


def _channel(version: int) -> Channel:
    ref = make_manifest(version=version).ref()
    return Channel(target=ref, reason="Published", actor="test", moved_at=1.0, quarantined=(SHA,))


def test_a_channel_moves_only_from_where_the_mover_saw_it(store: ModelStore) -> None:
    assert store.channel("latest") is None
    tag = store.move_channel("latest", _channel(1), etag=None)
    with pytest.raises(PreconditionFailed):
        store.move_channel("latest", _channel(9), etag=None)
    store.move_channel("latest", _channel(2), etag=tag)
    with pytest.raises(PreconditionFailed):
        store.move_channel("latest", _channel(3), etag=tag)
    found = store.channel("latest")
    assert found is not None
    assert found[0].target.version == 2
    assert found[0].quarantined == (SHA,)


def test_a_transform_is_found_by_its_digest(store: ModelStore, objects: MemoryObjects) -> None:
    digest = store.put_transform(b"{}")
    assert store.transform(digest) == b"{}"
    objects.damage(digest, lambda _: b"[]")
    with pytest.raises(IntegrityError):
        store.transform(digest)


def test_the_probe_approves_a_store_that_honours_conditions(
    store: ModelStore, objects: MemoryObjects
) -> None:
    assert probe(store, "me").ok
    assert not objects.objects, "the probe leaves something behind"


def test_the_probe_finds_a_store_that_ignores_conditions(
    store: ModelStore, objects: MemoryObjects
) -> None:
    objects.honours_conditions = False
    health = probe(store, "me")
    assert not health.ok
    assert health.reason == "ConditionsNotHonoured"


def test_the_probe_says_when_nobody_answers(store: ModelStore, objects: MemoryObjects) -> None:
    objects.fail_with = StoreUnavailable("s3 does not answer")
    health = probe(store, "me")
    assert (health.ok, health.reason) == (False, "Unreachable")
