"""The forward pass of DIN with its attention in bfloat16, on processors with a unit for it.

The attention over pairs of candidate and history item is nine tenths of the work. Its factors are
rounded to bfloat16, its sums are float32; the rest is as in `scoring`.

Letters as there; D' and A1' are d and A1 padded to whole tiles of factors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numba import njit

from millstream_serving.engine import amx, avx512
from millstream_serving.engine.amx import DEPTH, ROWS
from millstream_serving.engine.bfloats import narrow_products, narrow_rectified, packed
from millstream_serving.engine.lines import zeros
from millstream_serving.engine.scoring import BLOCK, begin, conclude, copy, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_serving.engine.amx import Bits
    from millstream_serving.engine.layouts import Matrix, Vector
    from millstream_serving.engine.networks import Weights
    from millstream_serving.engine.rows import StoredRows
    from millstream_serving.engine.scoring import Keys, Scratch, Slots

HIGH: Final = 2 * ROWS  # pairs that go through the layers together: all of it fits the L1 cache
# By what the processor has, never by what it may use: numba keeps kernels by processor.
UNIT: Final = amx if amx.is_there() else avx512


class ReducedWeights(NamedTuple):
    """Of the attention's layers, see `bfloats.packed`."""

    product: Bits  # W4
    hidden: Bits
    hidden_bias: Matrix  # [1, A2]
    out: Vector  # [A2]
    out_bias: np.float32


class ReducedScratch(NamedTuple):
    """Memory of one scoring thread, beside its Scratch."""

    configuration: NDArray[np.uint8]  # [64]
    history: Matrix  # [L + 16, D']
    candidates: Matrix  # [C, D']
    keys: Matrix  # [L + 16, A1]
    pairs: Bits  # [32, D']
    first: Matrix  # [32, A1]
    hidden: Bits  # [32, A1']
    second: Matrix  # [32, A2]


def reduced(weights: Weights) -> ReducedWeights:
    """The weights of the attention, rounded."""
    return ReducedWeights(
        packed(weights.product),
        packed(weights.attention_hidden),
        weights.attention_hidden_bias[None],
        weights.attention_out,
        weights.attention_out_bias,
    )


def reduced_scratch_for(weights: Weights, history_length: int) -> ReducedScratch:
    """Scratch for scoring with these weights and histories of at most this length."""
    width, a1 = weights.product.shape
    a2 = len(weights.attention_out)
    depth, hidden_depth = (-(-each // DEPTH) * DEPTH for each in (width, a1))
    return ReducedScratch(
        configuration=zeros((64,), np.uint8),
        history=zeros((history_length + ROWS, depth), np.float32),
        candidates=zeros((BLOCK, depth), np.float32),
        keys=zeros((history_length + ROWS, a1), np.float32),
        pairs=zeros((HIGH, depth), np.uint16),
        first=zeros((HIGH, a1), np.float32),
        hidden=zeros((HIGH, hidden_depth), np.uint16),
        second=zeros((HIGH, a2), np.float32),
    )


# Reassociation alone lets the sum be vectorised; full fastmath would assume NaN away.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _rectified_dot(left: Vector, right: Vector) -> np.float32:
    """relu(left) · right, which lets NaN through."""
    total = np.float32(0.0)
    for i in range(len(left)):
        value = left[i]
        total += (np.float32(0.0) if value < 0 else value) * right[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _attend(
    w: ReducedWeights, r: ReducedScratch, s: Scratch, block: int, count: int, rows: int
) -> None:
    """attention[c · T + t] = what candidate c makes of item t of the history."""
    tiles, together, stride = -(-count // rows), HIGH // rows, 4 * r.keys.shape[1]
    for candidate in range(block):
        for tile in range(0, tiles, together):
            high = min(together, tiles - tile)
            start = tile * rows
            narrow_products(r.history, start, high * rows, r.candidates, candidate, r.pairs)
            UNIT.multiply(r.pairs, w.product, r.keys[start:], stride, r.first, high, rows)
            narrow_rectified(r.first, high * rows, s.queries, candidate, r.hidden)
            UNIT.multiply(r.hidden, w.hidden, w.hidden_bias, 0, r.second, high, rows)
            for t in range(start, min(start + high * rows, count)):
                s.attention[candidate * count + t] = (
                    _rectified_dot(r.second[t - start], w.out) + w.out_bias
                )


@njit(cache=True, nogil=True, error_model="numpy")
def score_reduced(
    weights: Weights,
    reduced_weights: ReducedWeights,
    user_rows: StoredRows,
    user_keys: Keys,
    user_slots: Slots,
    item_rows: StoredRows,
    item_keys: Keys,
    item_slots: Slots,
    history_keys: Keys,
    history_slots: Slots,
    scratch: Scratch,
    reduced_scratch: ReducedScratch,
    logits: Vector,
) -> None:
    """As `scoring.score`, with the attention in bfloat16."""
    w, s, r = weights, scratch, reduced_scratch
    count = int(len(history_slots) // item_rows.parts)
    candidates = int(len(item_slots) // item_rows.parts)
    begin(w, s, user_rows, user_keys, user_slots, item_rows, history_keys, history_slots, count)
    rows = 0
    if count > 0:
        copy(s.history, count, r.history)
        copy(s.keys, count, r.keys)
        rows = UNIT.rows_of_tile(count)
        UNIT.configure(r.configuration, rows)
    for start in range(0, candidates, BLOCK):
        block = min(BLOCK, candidates - start)
        take(w, s, item_rows, item_keys, item_slots, start, block)
        if count > 0:
            copy(s.candidates, block, r.candidates)
            _attend(reduced_weights, r, s, block, count, rows)
        conclude(w, s, block, count, logits, start)
    UNIT.release()
