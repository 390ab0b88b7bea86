"""The world as the watches tell it: parents, their children and their pods.

A plain dictionary, filled by events and replaced wholesale by each resync, since a watch that
was broken off never says what was deleted meanwhile. A copy of our own write is put in at once;
an event that is older than what is known is passed over. Nobody relies on a copy being new:
writes carry what they were based on and fail where that is out of date.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from millstream_api import names
from millstream_operator.render.metadata import KINDS
from millstream_operator.shell.kinds import PARENTS, POD, Body, KindInfo, is_same

if TYPE_CHECKING:
    from collections.abc import Iterable


class Key(NamedTuple):
    """One custom resource."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class ObjectCache:
    """Belongs to one event loop; every method is called there."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._objects: dict[str, dict[tuple[str, str], Body]] = defaultdict(dict)
        self._pods: dict[Key, set[str]] = defaultdict(set)

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        """The last known copy of an object."""
        return self._objects[kind].get((namespace, name))

    def parents(self) -> list[Key]:
        """All custom resources known."""
        return [
            Key(info.kind, namespace, name)
            for info in PARENTS
            for namespace, name in self._objects[info.kind]
        ]

    def pods(self, key: Key) -> list[Body]:
        """The pods that belong to a custom resource by their labels, by name."""
        found = (self.get(POD.kind, key.namespace, name) for name in sorted(self._pods[key]))
        return [pod for pod in found if pod is not None]

    def put(self, body: Body) -> bool:
        """Take in a copy; returns whether it is news."""
        meta = body["metadata"]
        place = (meta["namespace"], meta["name"])
        objects = self._objects[body["kind"]]
        known = objects.get(place)
        if known is not None and is_same(known, body) and _version(body) <= _version(known):
            return False
        # Half of an object's bytes, and of no use here.
        objects[place] = {
            **body,
            "metadata": {key: value for key, value in meta.items() if key != "managedFields"},
        }
        if body["kind"] == POD.kind and (owner := owner_of(body)) is not None:
            self._pods[owner].add(meta["name"])
        return True

    def refresh(self, body: Body) -> None:
        """Take in a copy that was just read, whatever was known."""
        meta = body["metadata"]
        self._objects[body["kind"]].pop((meta["namespace"], meta["name"]), None)
        self.put(body)

    def drop(self, kind: str, namespace: str, name: str) -> None:
        """The object is gone."""
        gone = self._objects[kind].pop((namespace, name), None)
        if gone is not None and kind == POD.kind and (owner := owner_of(gone)) is not None:
            self._pods[owner].discard(name)
            if not self._pods[owner]:
                del self._pods[owner]

    def remove(self, body: Body) -> bool:
        """This very object is gone; returns whether that is news."""
        meta = body["metadata"]
        known = self.get(body["kind"], meta["namespace"], meta["name"])
        if known is None or not is_same(known, body):
            return known is None
        self.drop(body["kind"], meta["namespace"], meta["name"])
        return True

    def replace(self, kind: KindInfo, namespace: str | None, bodies: Iterable[Body]) -> None:
        """All objects of a kind in a namespace (or everywhere) are exactly these."""
        kept = {(body["metadata"]["namespace"], body["metadata"]["name"]): body for body in bodies}
        for place in list(self._objects[kind.kind]):
            if place not in kept and namespace in {None, place[0]}:
                self.drop(kind.kind, *place)
        for body in kept.values():
            self.refresh(body)


def owner_of(body: Body) -> Key | None:
    """The custom resource that a child or pod belongs to, by the labels that we put there."""
    labels = body["metadata"].get("labels") or {}
    kind = KINDS.get(labels.get(names.LABEL_COMPONENT, ""))
    name = labels.get(names.LABEL_INSTANCE)
    if kind is None or not name or labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
        return None
    return Key(kind, body["metadata"]["namespace"], name)


def _version(body: Body) -> int:
    """Position in the API server's history; numbers since Kubernetes 1.35 promise to be ordered."""
    text = body["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0
