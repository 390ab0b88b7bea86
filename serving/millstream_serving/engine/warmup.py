"""Compile every kernel, or fetch it from numba's cache, before the first user asks.

`python -m millstream_serving.engine.warmup` compiles them into an image. Each kernel is compiled
for the types it meets when serving, so the arrays here are what they are there: rows as read from
the store are read-only, those in the tables are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_api.features import FeatureSpec, HashFeature, NormaliseFeature
from millstream_api.manifest import Architecture, Column, ContextInputs, DefaultRow, MultiHash
from millstream_core.features import EMPTY, ContextFeatures
from millstream_core.tables.multihash import row_keys
from millstream_core.tables.versioned import VersionedTable
from millstream_serving.engine.contexts import CONTEXT, in_context
from millstream_serving.engine.networks import prepare, prepare_context, shapes_of
from millstream_serving.engine.rows import rows_of
from millstream_serving.engine.scoring import score, scratch_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST = Architecture(
    name="DIN",
    embedding_dim=4,
    attention=(16, 16),
    head=(16, 16),
    history_length=2,
    context=ContextInputs(rows=1, dim=4, floats=2),
)
_FEATURES = (
    FeatureSpec(name="text", hash=HashFeature(buckets=2)),
    FeatureSpec(name="number", normalise=NormaliseFeature(min=0, max=1)),
)


def warm_up() -> None:
    """Run every kernel once on a model of a few rows."""
    width = _SMALLEST.embedding_dim
    table = VersionedTable({"rows": Column(dtype="float32", width=width, group="serve")}, 1 << 12)
    keys, rows = _as_fetched(np.arange(3)), _as_fetched(np.ones((3, width), np.float32))
    base = table.load(None, keys, {"rows": rows}, np.empty(0, np.int64), whole=True)
    delta = table.load(base, keys[1:], {"rows": rows[1:] + 1}, keys[:1], whole=False)
    table.collect()

    dense = {name: np.zeros(shape, np.float32) for name, shape in shapes_of(_SMALLEST).items()}
    part = prepare_context(_SMALLEST, dense)
    logits = np.empty(3, np.float32)
    stored = rows_of(delta, DefaultRow())
    weights = in_context(
        prepare(_SMALLEST, dense),
        part,
        ContextFeatures(_FEATURES),
        {CONTEXT: delta},
        {CONTEXT: stored},
        EMPTY,
    )
    by = MultiHash(tables=2, rows=8, seed=0)
    row_keys(keys, by)
    row_keys(np.arange(3), by)
    user, items, history = np.array([0], np.int64), np.arange(3), np.arange(2)
    score(
        weights,
        stored,
        user,
        delta.slots(user),
        stored,
        items,
        delta.slots(items),
        history,
        delta.slots(history),
        scratch_for(weights, _SMALLEST.history_length),
        logits,
    )


def _as_fetched(array: NDArray[Any]) -> NDArray[Any]:
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


if __name__ == "__main__":
    warm_up()
