"""What the context of a request adds to its scores: a bias of the head's first layer.

The context is the same for all candidates, so its part of that layer is one vector per request,
and the kernel need not know of it: it gets the bias with this vector added.
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
    from millstream_serving.engine.networks import Matrix, Weights
    from millstream_serving.engine.rows import StoredRows

CONTEXT = "context"  # the table


def in_context(
    weights: Weights,
    part: Matrix,
    features: ContextFeatures,
    tables: Mapping[str, TableVersion],
    rows: Mapping[str, StoredRows],
    context: Context,
) -> Weights:
    """The weights as they are in this context.

    Args:
        weights: of the version.
        part: the context's part of the head's first layer, [inputs, H1].
        features: of the version.
        tables: of the version; where features read rows, `context` is among them.
        rows: their rows.
        context: of the request.
    """
    encoded = features.encode([context])
    inputs = np.empty((1, len(part)), np.float32)
    floats = len(part) - encoded.floats.shape[1]
    inputs[0, floats:] = encoded.floats[0]
    if features.rows:
        keys = encoded.keys[0]
        embedded = inputs[0, :floats].reshape(features.rows, -1)
        gather(rows[CONTEXT], keys, tables[CONTEXT].slots(keys), 0, features.rows, embedded)
    bias = weights.head_bias[None].copy()
    accumulate(inputs, 1, part, bias)
    return weights._replace(head_bias=bias[0])
