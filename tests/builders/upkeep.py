"""Stores with a chain of versions in them, and a compactor for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from millstream_api.manifest import Channel
from millstream_core.checkpoint import find_way, leg_tables, read_dense, read_table
from millstream_core.store import ModelStore
from millstream_core.upkeep.compaction import Compactor
from tests.builders.serving import Publisher, random_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millstream_api.manifest import VersionRef
    from millstream_core.store import ObjectStore
    from tests.builders.objects import MemoryObjects

_POOL = ThreadPoolExecutor(4, thread_name_prefix="upkeep")


def make_chain(
    objects: MemoryObjects, deltas: int, *, users: int = 200, touched: int = 10
) -> tuple[Publisher, list[VersionRef]]:
    """A base and so many deltas on top; each writes some users' rows and lets some go."""
    publisher = Publisher(objects)
    refs = [publisher.publish(random_rows(publisher, users, 20))]
    rng = np.random.default_rng(5)
    for _ in range(deltas):
        extend(publisher, refs, rng, users=users, touched=touched)
    return publisher, refs


def extend(
    publisher: Publisher,
    refs: list[VersionRef],
    rng: np.random.Generator,
    *,
    users: int = 200,
    touched: int = 10,
) -> None:
    width = publisher.architecture.embedding_dim
    chosen = rng.choice(users, touched, replace=False).tolist()
    rows = {key: rng.standard_normal(width).astype(np.float32) for key in chosen}
    held = [key for key in publisher.tables["user"] if key not in rows]
    gone = rng.choice(held, min(2, len(held)), replace=False).tolist()
    refs.append(publisher.publish({"user": rows}, gone={"user": gone}))


def make_compactor(publisher: Publisher, process: str = "c1") -> Compactor:
    return Compactor(publisher.store, _POOL, process, "test")


def point(
    publisher: Publisher,
    name: str,
    target: VersionRef,
    *,
    previous: VersionRef | None = None,
    retained: tuple[VersionRef, ...] = (),
    quarantined: tuple[str, ...] = (),
) -> None:
    """Move a channel, as the trainer or the operator would."""
    store = publisher.store
    found = store.channel(name)
    channel = Channel(
        target=target,
        previous=previous,
        reason="Test",
        actor="test",
        moved_at=1.0,
        quarantined=quarantined,
        retained=retained,
    )
    store.move_channel(name, channel, etag=found[1] if found else None)


def roots_of(store: ModelStore) -> set[VersionRef]:
    """What channels say must be there."""
    found: set[VersionRef] = set()
    for name in store.channels():
        channel = store.channel(name)
        if channel is not None:
            named = (channel[0].target, channel[0].previous, *channel[0].retained)
            found |= {ref for ref in named if ref is not None}
    return found


def assert_whole(objects: ObjectStore, refs: Iterable[VersionRef]) -> None:
    """These versions exist and can be read, step by step and by the shortest way."""
    store = ModelStore(objects, "models", "shop")  # remembers no manifest
    for ref in refs:
        assert store.resolve(ref.lineage, ref.version) == ref
        for shortcuts in (False, True):
            _, legs = find_way(store, ref, held=(), groups=("serve",), shortcuts=shortcuts)
            for leg in legs:
                read_dense(store, leg.manifest, "serve")
                store.transform(leg.manifest.transform)
                for table in leg_tables(store, leg).values():
                    read_table(store, _POOL, ref.lineage, table)
