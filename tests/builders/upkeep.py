"""Stores with a chain of versions in them, and a compactor for them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from millstream_core.upkeep.compaction import Compactor
from tests.builders.serving import Publisher, random_rows

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
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
