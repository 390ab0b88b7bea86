"""R18: a collector racing publishers, rollbacks and slow readers removes nothing reachable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.upkeep import Lease
from millstream_core.store import ModelStore, ObjectMissing
from millstream_core.upkeep.collecting import collect
from millstream_core.upkeep.compaction import compact
from millstream_core.upkeep.retention import RetentionRules
from tests.builders.objects import MemoryObjects
from tests.builders.upkeep import (
    assert_whole,
    extend,
    make_chain,
    make_compactor,
    point,
    roots_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from millstream_api.manifest import VersionRef
    from millstream_core.store import Listed, Stored

RULES = RetentionRules(keep_versions=1, grace_seconds=50)


class Interrupted:
    """An ObjectStore in which others act right before a caller's n-th call."""

    def __init__(self, objects: MemoryObjects, acts: dict[int, Callable[[], None]]) -> None:
        self._objects = objects
        self._acts = acts
        self.calls = 0

    def get(self, key: str, at_most: int | None = None) -> Stored:
        self._called()
        return self._objects.get(key, at_most)

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        self._called()
        return self._objects.put(key, data, **conditions)

    def list(self, prefix: str) -> Iterator[Listed]:
        self._called()
        return self._objects.list(prefix)

    def delete(self, key: str) -> None:
        self._called()
        self._objects.delete(key)

    def _called(self) -> None:
        self.calls += 1
        act = self._acts.pop(self.calls, None)
        if act is not None:
            act()


class World:
    """A model in use: a trainer, an operator and readers, each keeping to its part."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.publisher, self.refs = make_chain(self.objects, 2, users=20, touched=2)
        self.rng = np.random.default_rng(0)
        self.readers: list[VersionRef] = []
        for number in range(7):
            self.publish(base=number % 3 == 2)
        point(self.publisher, "stable", self.refs[5], retained=(self.refs[4], self.refs[1]))
        compact(make_compactor(self.publisher), self.refs[-1])
        self.objects.now += 1000

    def publish(self, *, base: bool) -> None:
        if base:
            self.refs.append(self.publisher.publish(base=True))
        else:
            extend(self.publisher, self.refs, self.rng, users=20, touched=2)
        point(self.publisher, "latest", self.refs[-1], previous=self.refs[-2])

    def roll_back(self) -> None:
        """To a version that was retained, as the operator does; what was stable is let go."""
        found = self.publisher.store.channel("stable")
        assert found is not None
        *others, target = found[0].retained or (found[0].target,)
        point(self.publisher, "stable", target, previous=None, retained=tuple(others))

    def promote(self) -> None:
        found = self.publisher.store.channel("stable")
        assert found is not None
        before = found[0]
        point(
            self.publisher,
            "stable",
            self.refs[-1],
            previous=before.target,
            retained=(before.target, *before.retained)[:2],
        )

    def read(self, place: int) -> None:
        """Any version there is or was: lease first, then look for its commit."""
        ref = self.refs[place % len(self.refs)]
        store = ModelStore(self.objects, "models", "shop")
        key = f"lease/reader-{len(self.readers)}"
        lease = Lease(holder="reader", versions=(ref,), seconds=10_000)
        store.objects.put(key, lease.canonical())
        try:
            store.resolve(ref.lineage, ref.version)
        except ObjectMissing:
            store.objects.delete(key)
        else:
            self.readers.append(ref)

    def wait(self) -> None:
        self.objects.now += 30

    def act(self, what: str, place: int) -> None:
        match what:
            case "publish":
                self.publish(base=place % 3 == 0)
            case "roll back":
                self.roll_back()
            case "promote":
                self.promote()
            case "read":
                self.read(place)
            case "wait":
                self.wait()
            case "compact":
                compact(make_compactor(self.publisher, f"c{place}"), self.refs[-1])


actions = st.tuples(
    st.integers(1, 160),
    st.sampled_from(["publish", "roll back", "promote", "read", "read", "wait", "compact"]),
    st.integers(0, 40),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(actions, max_size=8), st.integers(1, 2))
def test_nothing_reachable_is_ever_removed(acts: list[tuple[int, str, int]], rounds: int) -> None:
    world = World()
    for _ in range(rounds):
        due = {
            when: lambda what=what, place=place: world.act(what, place)
            for when, what, place in acts
        }
        collect(ModelStore(Interrupted(world.objects, due), "models", "shop"), RULES, "c")
        assert_whole(world.objects, {*roots_of(world.publisher.store), *world.readers})
        world.objects.now += 1000
