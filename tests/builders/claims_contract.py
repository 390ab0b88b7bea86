"""What holds of writers' epochs and commits on any object store; run against both."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import pytest

from millstream_core.store import ModelStore, ObjectStore, VersionTaken, WriterReplaced
from tests.builders.manifests import make_manifest

if TYPE_CHECKING:
    from collections.abc import Callable

WRITERS = 16
Result = TypeVar("Result")
LINEAGE = make_manifest().lineage


class ClaimsContract:
    """Subclasses give the fixture `objects`."""

    def test_sixteen_racing_writers_get_sixteen_epochs(self, objects: ObjectStore) -> None:
        """R12: no two processes ever share an epoch."""
        store = ModelStore(objects, "", "shop")
        epochs = _race(lambda me: store.claim(LINEAGE, "trainer", f"token-{me}"))
        assert sorted(epochs) == list(range(1, WRITERS + 1))

    def test_of_sixteen_racing_commits_one_wins_each_round(self, objects: ObjectStore) -> None:
        """R12: exactly one winner, whose manifest is the one that is read."""
        store = ModelStore(objects, "", "shop")
        for version in range(1, 5):

            def commit(me: int, version: int = version) -> str | None:
                manifest = make_manifest(version, writer=f"writer {me}", writer_epoch=1)
                try:
                    return store.commit(manifest).digest
                except VersionTaken:
                    return None

            [winner] = [digest for digest in _race(commit) if digest is not None]
            assert store.resolve(LINEAGE, version).digest == winner
        assert store.commits(LINEAGE) == [1, 2, 3, 4]

    def test_only_the_newest_of_two_live_writers_commits(self, objects: ObjectStore) -> None:
        """R12: whoever claimed before is refused before it changes anything."""
        store = ModelStore(objects, "", "shop")
        older, newer = (store.claim(LINEAGE, "trainer", token) for token in "ab")
        with pytest.raises(WriterReplaced, match="newer than this writer's"):
            store.commit(make_manifest(1, writer_epoch=older))
        assert store.commits(LINEAGE) == []
        store.commit(make_manifest(1, writer_epoch=newer))
        assert store.commits(LINEAGE) == [1]


def _race(act: Callable[[int], Result]) -> list[Result]:
    barrier = threading.Barrier(WRITERS)

    def run(me: int) -> Result:
        barrier.wait(timeout=30)
        return act(me)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))
