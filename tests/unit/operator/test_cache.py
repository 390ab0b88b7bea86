"""What is known of the world, in whatever order it is told."""

from __future__ import annotations

from typing import Any

from millstream_operator.render.metadata import Parent, selector_labels
from millstream_operator.shell.cache import Key, ObjectCache, owner_of
from millstream_operator.shell.kinds import BY_KIND

PARENT = Parent("RecServing", "ns", "shop", "u")
KEY = Key("RecServing", "ns", "shop")


def make_body(kind: str = "RecServing", name: str = "shop", **meta: Any) -> dict[str, Any]:
    known = {"name": name, "namespace": "ns", "uid": "u1", "resourceVersion": "5"}
    return {"apiVersion": "v1", "kind": kind, "metadata": known | meta}


def make_pod(name: str, **meta: Any) -> dict[str, Any]:
    return make_body("Pod", name, labels=selector_labels(PARENT), uid=name, **meta)


def test_older_copies_are_passed_over():
    cache = ObjectCache()
    assert cache.put(make_body(resourceVersion="5"))
    assert not cache.put(make_body(resourceVersion="4"))
    assert not cache.put(make_body(resourceVersion="5"))
    assert cache.put(make_body(resourceVersion="10"))


def test_another_object_of_the_name_replaces_the_first_whatever_its_version():
    cache = ObjectCache()
    cache.put(make_body(resourceVersion="50"))
    assert cache.put(make_body(uid="u2", resourceVersion="7"))


def test_what_was_just_read_holds_even_if_it_looks_older():
    """As after a restored backup of etcd."""
    cache = ObjectCache()
    cache.put(make_body(resourceVersion="50"))
    cache.refresh(make_body(resourceVersion="3"))
    assert cache.put(make_body(resourceVersion="4"))


def test_the_end_of_an_earlier_object_does_not_end_the_later_one():
    cache = ObjectCache()
    cache.put(make_body(uid="u2", resourceVersion="9"))
    assert not cache.remove(make_body(uid="u1"))
    assert cache.get(*KEY) is not None
    assert cache.remove(make_body(uid="u2"))
    assert cache.get(*KEY) is None
    assert cache.remove(make_body(uid="u2")), "one that was never known may still need a look"


def test_pods_are_found_by_their_labels():
    cache = ObjectCache()
    cache.put(make_pod("b"))
    cache.put(make_pod("a"))
    cache.put(make_body("Pod", "foreign"))
    assert [pod["metadata"]["name"] for pod in cache.pods(KEY)] == ["a", "b"]
    cache.drop("Pod", "ns", "a")
    assert [pod["metadata"]["name"] for pod in cache.pods(KEY)] == ["b"]


def test_a_resync_forgets_what_is_gone_and_only_in_its_namespace():
    cache = ObjectCache()
    cache.put(make_body(name="gone"))
    cache.put(make_body(name="kept"))
    cache.put(make_body(name="elsewhere", namespace="other"))
    cache.replace(BY_KIND["RecServing"], "ns", [make_body(name="kept")])
    assert {key.name for key in cache.parents()} == {"kept", "elsewhere"}
    cache.replace(BY_KIND["RecServing"], None, [])
    assert cache.parents() == []


def test_managed_fields_are_not_kept():
    cache = ObjectCache()
    cache.put(make_body(managedFields=[{"manager": "x"}]))
    assert "managedFields" not in cache.get(*KEY)["metadata"]


def test_the_owner_is_read_from_our_labels_only():
    assert owner_of(make_pod("a")) == KEY
    assert owner_of(make_body("Pod")) is None
    strange = make_pod("a")
    strange["metadata"]["labels"]["app.kubernetes.io/component"] = "database"
    assert owner_of(strange) is None
    trainer = make_body("Pod", labels=selector_labels(Parent("RecTraining", "ns", "shop", "u")))
    assert owner_of(trainer) == Key("RecTraining", "ns", "shop")
