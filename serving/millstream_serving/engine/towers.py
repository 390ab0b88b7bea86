"""DotProduct: a vector of the user, made once a request, times the row of each candidate.

    v = u + m + tower(u, m, context);   logit = v · q + bias

The tower's first layer is cut by its inputs: u the user's row, m the mean of the history's rows,
and the context (`contexts`). Letters as in `scoring`; H1 and H2 are those of the tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numba import njit

from millstream_serving.engine.contexts import in_context
from millstream_serving.engine.layouts import (
    Matrix,
    UnknownArchitecture,
    Vector,
    as_matrix,
    as_vector,
    layer_shapes,
    refuse_conversions,
    refuse_misshapen,
)
from millstream_serving.engine.lines import zeros
from millstream_serving.engine.pooling import mean_row
from millstream_serving.engine.rows import gather
from millstream_serving.engine.tasks import write_logits
from millstream_serving.engine.tiles import accumulate, rectify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture
    from millstream_serving.engine.requests import Lookup, Request
    from millstream_serving.engine.versions import ScratchPad

BLOCK: Final = 64  # candidates whose rows are decoded together


class Weights(NamedTuple):
    """All matrices are [inputs, outputs], C-contiguous, outputs padded."""

    user: Matrix  # [d, H1]
    seen: Matrix  # [d, H1]
    bias: Vector  # [H1]
    hidden: Matrix  # [H1, H2]
    hidden_bias: Vector  # [H2]
    out: Matrix  # [H2, d]
    out_bias: Vector  # [d]
    logit_bias: Vector  # [1], padded


class Scratch(NamedTuple):
    """Memory of one scoring thread, for weights of one shape."""

    user: Matrix  # [1, d]
    history: Matrix  # [L, d]
    seen: Matrix  # [1, d]
    first: Matrix  # [1, H1]
    second: Matrix  # [1, H2]
    vector: Matrix  # [1, d]
    candidates: Matrix  # [C, d]
    nothing: Matrix  # [1, max(H1, H2)], zeros


def scratch_for(weights: Weights, history_length: int) -> Scratch:
    """Scratch for scoring with these weights and histories of at most this length."""
    width, h1 = weights.user.shape
    h2 = len(weights.hidden_bias)

    def matrix(rows: int, columns: int) -> Matrix:
        return zeros((rows, columns), np.float32)

    return Scratch(
        user=matrix(1, width),
        history=matrix(history_length, width),
        seen=matrix(1, width),
        first=matrix(1, h1),
        second=matrix(1, h2),
        vector=matrix(1, len(weights.out_bias)),
        candidates=matrix(BLOCK, width),
        nothing=matrix(1, max(h1, h2)),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def score(
    weights: Weights, user: Lookup, items: Lookup, history: Lookup, s: Scratch, logits: Vector
) -> None:
    """Logits of one user's candidates, float32[N], written."""
    w = weights
    seen = int(len(history.slots) // history.rows.parts)
    gather(user.rows, user.keys, user.slots, 0, 1, s.user)
    gather(history.rows, history.keys, history.slots, 0, seen, s.history)
    mean_row(s.history, seen, s.seen)
    s.first[:, :] = np.float32(0.0)
    accumulate(s.user, 1, w.user, s.first)
    rectify(s.seen, 1, w.seen, s.first, w.bias, s.first)
    rectify(s.first, 1, w.hidden, s.nothing, w.hidden_bias, s.second)
    s.vector[0, :] = w.out_bias
    for j in range(s.user.shape[1]):
        s.vector[0, j] += s.user[0, j] + s.seen[0, j]
    accumulate(s.second, 1, w.out, s.vector)
    for start in range(0, len(logits), BLOCK):
        block = min(BLOCK, len(logits) - start)
        gather(items.rows, items.keys, items.slots, start, block, s.candidates)
        write_logits(s.candidates, block, s.vector, w.logit_bias, logits, start)


@dataclass(frozen=True, eq=False)
class DotProduct:
    """Two towers, ready to score; see `architectures.Network`."""

    history_length: int
    weights: Weights
    context_part: Matrix  # of the tower's first layer, [E, H1]

    @staticmethod
    def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """See `architectures.Kind`."""
        refuse_conversions(architecture)
        if len(architecture.head) != 2 or architecture.attention:
            raise UnknownArchitecture(
                "this server scores DotProduct with two hidden layers in its tower and no "
                f"attention, not {list(architecture.head)} and {list(architecture.attention)}"
            )
        width = architecture.embedding_dim
        widths = (2 * width + architecture.context.width, *architecture.head, width)
        return layer_shapes("tower", widths) | {"bias": (1,)}

    @classmethod
    def of(cls, architecture: Architecture, dense: Mapping[str, NDArray[Any]]) -> Self:
        """See `architectures.Kind`."""
        refuse_misshapen(cls.shapes(architecture), dense)
        width = architecture.embedding_dim
        user, seen, context = np.split(dense["tower.0.weight"], [width, 2 * width], axis=1)
        weights = Weights(
            user=as_matrix(user),
            seen=as_matrix(seen),
            bias=as_vector(dense["tower.0.bias"]),
            hidden=as_matrix(dense["tower.1.weight"], pad_inputs=True),
            hidden_bias=as_vector(dense["tower.1.bias"]),
            out=as_matrix(dense["tower.2.weight"], pad_inputs=True),
            out_bias=as_vector(dense["tower.2.bias"]),
            logit_bias=as_vector(dense["bias"]),
        )
        return cls(architecture.history_length, weights, as_matrix(context))

    def score(self, request: Request, pad: ScratchPad, logits: Vector) -> None:
        """See `architectures.Network`."""
        weights, length = self.weights, self.history_length
        shape = ("DotProduct", *weights.user.shape, *weights.hidden.shape, length)
        score(
            weights._replace(bias=in_context(weights.bias, self.context_part, request.context)),
            request.user,
            request.items,
            request.history,
            pad.fit(shape, partial(scratch_for, weights, length)),
            logits,
        )

    def reduced(self) -> None:
        """See `architectures.Network`: what it computes is small beside its rows."""
