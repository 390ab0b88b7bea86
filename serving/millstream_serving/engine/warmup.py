"""Compile every kernel, or fetch it from numba's cache, before the first user asks.

`python -m millstream_serving.engine.warmup` compiles them into an image. Each kernel is compiled
for the types it meets when serving, so the arrays here are what they are there: rows as read from
the store are read-only, those in the tables are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_api.erasure import Erasure
from millstream_api.features import FeatureSpec, HashFeature, NormaliseFeature
from millstream_api.manifest import Architecture, Column, ContextInputs, DefaultRow, MultiHash
from millstream_core.erasure.ledger import SALT_BYTES, Ledger
from millstream_core.features import EMPTY, ContextFeatures
from millstream_core.tables.index import FIRST_CELLS
from millstream_core.tables.maps import FEW
from millstream_core.tables.multihash import row_keys
from millstream_core.tables.versioned import VersionedTable
from millstream_serving.engine.architectures import network_of, shapes_of
from millstream_serving.engine.best import best_of
from millstream_serving.engine.contexts import CONTEXT, inputs_of
from millstream_serving.engine.requests import Lookup, Request
from millstream_serving.engine.rows import rows_of
from millstream_serving.engine.versions import ScratchPad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.versioned import TableVersion

_CONTEXT = ContextInputs(rows=1, dim=4, floats=2)
_SMALLEST = [
    Architecture(
        name=name,
        embedding_dim=4,
        attention=attention,
        head=(16, 16),
        history_length=2,
        context=_CONTEXT,
    )
    for name, attention in (("DIN", (16, 16)), ("DotProduct", ()), ("MLP", ()))
]
_FEATURES = (
    FeatureSpec(name="text", hash=HashFeature(buckets=2)),
    FeatureSpec(name="number", normalise=NormaliseFeature(min=0, max=1)),
)


def warm_up() -> None:
    """Run every kernel once on models of a few rows."""
    width = _CONTEXT.dim
    table = VersionedTable({"rows": Column(dtype="float32", width=width, group="serve")}, 1 << 12)
    # So many that the index of keys grows on the way.
    keys = _as_fetched(np.arange(FIRST_CELLS))
    rows = _as_fetched(np.ones((len(keys), width), np.float32))
    base = table.load(None, keys, {"rows": rows}, np.empty(0, np.int64), whole=True)
    delta = table.load(base, keys[1:], {"rows": rows[1:] + 1}, keys[:1], whole=False)
    table.collect()
    _forget(delta)

    by = MultiHash(tables=2, rows=8, seed=0)
    row_keys(keys, by)
    row_keys(np.arange(3), by)

    stored = rows_of(delta, DefaultRow())

    def lookup(count: int) -> Lookup:
        asked = np.arange(count)
        return Lookup(stored, asked, delta.slots(asked))

    features = ContextFeatures(_FEATURES)
    context = inputs_of(features, width, {CONTEXT: delta}, {CONTEXT: stored}, EMPTY)
    request = Request(lookup(1), lookup(3), lookup(2), context)
    logits = np.empty(3, np.float32)
    for architecture in _SMALLEST:
        dense = {n: np.zeros(shape, np.float32) for n, shape in shapes_of(architecture).items()}
        network = network_of(architecture, dense)
        for each in (network, network.reduced()):
            if each is not None:
                each.score(request, ScratchPad(), logits)
    best_of(logits, None)
    delta.slots(np.arange(FEW + 1))


def _forget(version: TableVersion) -> None:
    """Take a key from a version that an entry of the ledger names."""
    nobody = Ledger(bytes(SALT_BYTES))
    entry = Erasure(seq=1, action="erase", subject="user", keys=(nobody.hashed("user", 1),), at=0.0)
    keys = version.index.keys()
    erased = keys[nobody.extended([entry]).erased("user", keys)]
    nothing = {column: version.table.values(column)[:0] for column in version.table.columns}
    version.table.load(version, erased[:0], nothing, erased, whole=False)


def _as_fetched(array: NDArray[Any]) -> NDArray[Any]:
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


if __name__ == "__main__":
    warm_up()
