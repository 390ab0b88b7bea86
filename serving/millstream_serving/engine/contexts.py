"""What a network reads of the context of a request, and what that adds to a layer.

The context is the same for all candidates, so its part of a layer is one vector per request: a
kernel need not know of it where it gets the layer's bias with this vector added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_serving.engine.rows import gather
from millstream_serving.engine.tiles import accumulate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from millstream_core.features import Context, ContextFeatures
    from millstream_core.tables.versioned import TableVersion
    from millstream_serving.engine.layouts import Matrix, Vector
    from millstream_serving.engine.rows import StoredRows

CONTEXT = "context"  # the table


def inputs_of(
    features: ContextFeatures,
    width: int,
    tables: Mapping[str, TableVersion],
    rows: Mapping[str, StoredRows],
    context: Context,
) -> Matrix:
    """What a network reads of this context, float32[1, E].

    Args:
        features: of the version.
        width: of a row of the table `context`.
        tables: of the version; where features read rows, `context` is among them.
        rows: their rows.
        context: of the request.
    """
    floats = features.rows * width
    inputs = np.empty((1, floats + features.floats), np.float32)
    if inputs.shape[1]:
        encoded = features.encode([context])
        inputs[0, floats:] = encoded.floats[0]
        if features.rows:
            keys = encoded.keys[0]
            embedded = inputs[0, :floats].reshape(features.rows, -1)
            gather(rows[CONTEXT], keys, tables[CONTEXT].slots(keys), 0, features.rows, embedded)
    return inputs


def in_context(bias: Vector, part: Matrix, inputs: Matrix) -> Vector:
    """A layer's bias as it is in a context.

    Args:
        bias: of the layer, float32[H].
        part: the context's part of the layer, [E, H].
        inputs: what is read of the context, [1, E].
    """
    if not len(part):
        return bias
    added = bias.copy()
    accumulate(inputs, 1, part, added[None])
    return added
