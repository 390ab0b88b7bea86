"""MLP: one perceptron over the user's row, the candidate's, and the mean of the history's.

The first layer is cut by its inputs, so the parts of the user, the history and the context are
computed once a request, and a candidate costs one product of its row, the second layer and a dot
product for each task. Letters as in `scoring`.
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
    as_rows,
    as_vector,
    layer_shapes,
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

BLOCK: Final = 20  # candidates scored together; whole tiles


class Weights(NamedTuple):
    """All matrices are [inputs, outputs], C-contiguous, outputs padded."""

    user: Matrix  # [d, H1]
    item: Matrix  # [d, H1]
    seen: Matrix  # [d, H1]
    bias: Vector  # [H1]
    hidden: Matrix  # [H1, H2]
    hidden_bias: Vector  # [H2]
    out: Matrix  # [T, H2], a row for each task
    out_bias: Vector  # [T], padded


class Scratch(NamedTuple):
    """Memory of one scoring thread, for weights of one shape."""

    user: Matrix  # [1, d]
    history: Matrix  # [L, d]
    seen: Matrix  # [1, d]
    user_part: Matrix  # [1, H1]
    candidates: Matrix  # [C, d]
    first: Matrix  # [C, H1]
    second: Matrix  # [C, H2]
    nothing: Matrix  # [C, max(H1, H2)], zeros


def scratch_for(weights: Weights, history_length: int) -> Scratch:
    """Scratch for scoring with these weights and histories of at most this length."""
    width, h1 = weights.item.shape
    h2 = len(weights.hidden_bias)

    def matrix(rows: int, columns: int) -> Matrix:
        return zeros((rows, columns), np.float32)

    return Scratch(
        user=matrix(1, width),
        history=matrix(history_length, width),
        seen=matrix(1, width),
        user_part=matrix(1, h1),
        candidates=matrix(BLOCK, width),
        first=matrix(BLOCK, h1),
        second=matrix(BLOCK, h2),
        nothing=matrix(BLOCK, max(h1, h2)),
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
    s.user_part[0, :] = w.bias
    accumulate(s.user, 1, w.user, s.user_part)
    accumulate(s.seen, 1, w.seen, s.user_part)
    for start in range(0, len(logits), BLOCK):
        block = min(BLOCK, len(logits) - start)
        gather(items.rows, items.keys, items.slots, start, block, s.candidates)
        rectify(s.candidates, block, w.item, s.nothing, s.user_part[0], s.first)
        rectify(s.first, block, w.hidden, s.nothing, w.hidden_bias, s.second)
        write_logits(s.second, block, w.out, w.out_bias, logits, start)


@dataclass(frozen=True, eq=False)
class Perceptron:
    """An MLP, ready to score; see `architectures.Network`."""

    history_length: int
    weights: Weights
    context_part: Matrix  # of the first layer, [E, H1]

    @staticmethod
    def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """See `architectures.Kind`."""
        if len(architecture.head) != 2 or architecture.attention:
            raise UnknownArchitecture(
                "this server scores MLP with two hidden layers and no attention, not "
                f"{list(architecture.head)} and {list(architecture.attention)}"
            )
        inputs = 3 * architecture.embedding_dim + architecture.context.width
        return layer_shapes("head", (inputs, *architecture.head, len(architecture.tasks)))

    @classmethod
    def of(cls, architecture: Architecture, dense: Mapping[str, NDArray[Any]]) -> Self:
        """See `architectures.Kind`."""
        refuse_misshapen(cls.shapes(architecture), dense)
        width = architecture.embedding_dim
        user, item, seen, context = np.split(
            dense["head.0.weight"], [width, 2 * width, 3 * width], axis=1
        )
        weights = Weights(
            user=as_matrix(user),
            item=as_matrix(item),
            seen=as_matrix(seen),
            bias=as_vector(dense["head.0.bias"]),
            hidden=as_matrix(dense["head.1.weight"], pad_inputs=True),
            hidden_bias=as_vector(dense["head.1.bias"]),
            out=as_rows(dense["head.2.weight"]),
            out_bias=as_vector(dense["head.2.bias"]),
        )
        return cls(architecture.history_length, weights, as_matrix(context))

    def score(self, request: Request, pad: ScratchPad, logits: Vector) -> None:
        """See `architectures.Network`."""
        weights, length = self.weights, self.history_length
        shape = ("MLP", *weights.item.shape, *weights.hidden.shape, length)
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
