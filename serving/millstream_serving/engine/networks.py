"""The dense weights of a DIN (Zhou et al., Deep Interest Network, KDD 2018), laid out for scoring.

The first attention layer sees concat(q, k, q − k, q ∘ k). With its weights cut into the same four
parts it equals (W1 + W3) q + (W2 − W3) k + W4 (q ∘ k): one product per candidate, one per history
item and only one per pair, a quarter of the work. The head's first layer is cut alike, so the
user's part is computed once per request; so is that of the context, of models that read one
(`contexts`). Widths are padded with zeros to whole tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from millstream_serving.engine.layouts import (
    Matrix,
    UnknownArchitecture,
    Vector,
    as_matrix,
    as_rows,
    as_vector,
    layer_shapes,
    refuse_misshapen,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture


class Weights(NamedTuple):
    """All matrices are [inputs, outputs], C-contiguous; d is the embedding width."""

    query: Matrix  # [d, A1]  W1 + W3
    key: Matrix  # [d, A1]    W2 - W3
    product: Matrix  # [d, A1]  W4
    attention_bias: Vector  # [A1]
    attention_hidden: Matrix  # [A1, A2]
    attention_hidden_bias: Vector  # [A2]
    attention_out: Vector  # [A2]
    attention_out_bias: np.float32
    head_user: Matrix  # [d, H1]
    head_item: Matrix  # [d, H1]
    head_interest: Matrix  # [D, H1], D is d padded
    head_bias: Vector  # [H1]
    head_hidden: Matrix  # [H1, H2]
    head_hidden_bias: Vector  # [H2]
    head_out: Matrix  # [T, H2], a row for each task
    head_out_bias: Vector  # [T], padded


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """The shape of every dense weight, as torch lays it out: [outputs, inputs].

    Raises:
        UnknownArchitecture: not a DIN with two hidden layers in each part.
    """
    if (
        architecture.name != "DIN"
        or len(architecture.attention) != 2
        or len(architecture.head) != 2
    ):
        raise UnknownArchitecture(
            f"this server scores DIN with two hidden layers in attention and head, not "
            f"{architecture.name} with {list(architecture.attention)} and {list(architecture.head)}"
        )
    width = architecture.embedding_dim
    attention = (4 * width, *architecture.attention, 1)
    inputs = 3 * width + architecture.context.width
    head = (inputs, *architecture.head, len(architecture.tasks))
    return layer_shapes("attention", attention) | layer_shapes("head", head)


def prepare(architecture: Architecture, dense: Mapping[str, NDArray[Any]]) -> Weights:
    """Lay out the dense weights of a version for the kernel.

    Args:
        architecture: from the manifest.
        dense: float32 arrays by torch name; others beside them are not looked at.

    Raises:
        UnknownArchitecture: there is no kernel for it.
        MisshapenWeights: a weight is missing, or of another shape or type.
    """
    refuse_misshapen(shapes_of(architecture), dense)
    w1, w2, w3, w4 = np.split(dense["attention.0.weight"], 4, axis=1)
    width = architecture.embedding_dim
    user, item, interest, _ = np.split(
        dense["head.0.weight"], [width, 2 * width, 3 * width], axis=1
    )
    return Weights(
        query=as_matrix(w1 + w3),
        key=as_matrix(w2 - w3),
        product=as_matrix(w4),
        attention_bias=as_vector(dense["attention.0.bias"]),
        attention_hidden=as_matrix(dense["attention.1.weight"], pad_inputs=True),
        attention_hidden_bias=as_vector(dense["attention.1.bias"]),
        attention_out=as_vector(dense["attention.2.weight"][0]),
        attention_out_bias=dense["attention.2.bias"][0],
        head_user=as_matrix(user),
        head_item=as_matrix(item),
        head_interest=as_matrix(interest, pad_inputs=True),
        head_bias=as_vector(dense["head.0.bias"]),
        head_hidden=as_matrix(dense["head.1.weight"], pad_inputs=True),
        head_hidden_bias=as_vector(dense["head.1.bias"]),
        head_out=as_rows(dense["head.2.weight"]),
        head_out_bias=as_vector(dense["head.2.bias"]),
    )


def prepare_context(architecture: Architecture, dense: Mapping[str, NDArray[Any]]) -> Matrix:
    """The context's part of the head's first layer, [inputs, H1]; after `prepare`."""
    return as_matrix(dense["head.0.weight"][:, 3 * architecture.embedding_dim :])
