"""Whatever one field of a manifest says, the version is refused with a reason or serves whole."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.manifest import DefaultRow, VersionRef
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.checks import Refused
from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, random_rows

POOL = ThreadPoolExecutor(2)
ITEMS = np.array([1000, 7])


def published(served: str, default: dict[str, Any]) -> tuple[Publisher, dict[str, Any]]:
    publisher = Publisher(MemoryObjects(), served=served, default=DefaultRow(**default))
    publisher.publish(random_rows(publisher, 4, 4))
    publisher.publish(random_rows(publisher, 2, 2, seed=1), gone={"user": [3]})
    return publisher, publisher.latest.model_dump(mode="json")


def places(value: Any, *path: Any) -> list[tuple[Any, ...]]:
    """Every path in a document."""
    inner: Any = ()
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [place for key, each in inner for place in places(each, *path, key)]
    return [path, *found] if path else found


PUBLISHERS = [
    published("float32", {"policy": "Zeros"}),
    published("float16", {"policy": "SharedOov"}),
    published("int8rows", {"policy": "HashInit", "seed": 3, "spread": 0.05}),
]
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, -(2**31), 2**53, 2**60, 2**63 - 1, 1e308, 0.5]),
    st.sampled_from(["", "..", "base", "delta", "float16", "int64", "0" * 32, "0" * 64, "\0"]),
    st.just([]),
    st.just({}),
    st.just([0, 1024]),
)


@settings(deadline=None, max_examples=250)
@given(st.integers(0, len(PUBLISHERS) - 1), st.data())
def test_a_lie_in_any_field_is_survived(which, data) -> None:
    """R20."""
    publisher, document = PUBLISHERS[which]
    path = data.draw(st.sampled_from(places(document)), label="path")
    lie = orjson.loads(orjson.dumps(document))
    place = lie
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = data.draw(values, label="value")
    text = orjson.dumps(lie)
    ref = VersionRef(lineage=publisher.lineage, version=1, digest=hashlib.sha256(text).hexdigest())
    publisher.objects.put(f"models/shop/{ref.lineage}/manifest/1-{ref.digest}.json", text)
    shelf = Shelf(publisher.store, POOL)
    with suppress(Refused):  # nothing else may come
        shelf.load(ref, {ref.digest}.__contains__, lambda _: None)
    for version in shelf.held.values():
        assert np.isfinite(version.logits(99, ITEMS, ITEMS, ScratchPad())).all()
