"""Manifests read lately are at hand, and take no more memory than they may."""

from __future__ import annotations

from millstream_core.store import ModelStore
from millstream_core.store.recent import RecentManifests
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher


def test_a_manifest_comes_back_as_it_was() -> None:
    recent = RecentManifests()
    manifest = make_manifest(version=3)
    assert recent.get("a") is None
    recent.keep("a", manifest)
    assert recent.get("a") == manifest


def test_those_used_longest_ago_go_first() -> None:
    made = {name: make_manifest(version=number) for number, name in enumerate("abcd", start=1)}
    recent = RecentManifests(bytes_kept=3 * len(made["a"].canonical()))
    for name in "abc":
        recent.keep(name, made[name])
    recent.get("a")
    recent.keep("a", made["a"])  # two threads may have read the same one
    recent.keep("d", made["d"])
    assert {name for name in made if recent.get(name)} == {"a", "c", "d"}


def test_one_that_is_larger_than_all_may_be_is_not_kept() -> None:
    recent = RecentManifests(bytes_kept=10)
    recent.keep("a", make_manifest())
    assert recent.get("a") is None


def test_a_chain_is_read_once() -> None:
    publisher = Publisher(MemoryObjects())
    for _ in range(5):
        last = publisher.publish()
    store = ModelStore(publisher.objects, "models", "shop")
    walked = list(store.ancestry(last))
    publisher.objects.objects.clear()
    assert list(store.ancestry(last)) == walked
    assert len(walked) == 5
