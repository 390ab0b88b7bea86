"""The forward pass of DIN over rows that stay where they are: in the arenas of the tables.

One call scores one request without the GIL and without allocating: rows are gathered by slot, and
decoded on the way, into scratch of the calling thread; candidates go through in blocks that fit
the first-level cache.

Letters: N candidates, T history items (at most L), d embedding width, A1 A2 H1 H2 padded widths of
the hidden layers, C candidates of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_serving.engine.rows import gather
from millstream_serving.engine.tiles import accumulate, rectify

if TYPE_CHECKING:
    from millstream_serving.engine.layouts import Matrix, Vector
    from millstream_serving.engine.networks import Weights
    from millstream_serving.engine.rows import StoredRows

Keys = NDArray[np.int64]
Slots = NDArray[np.int32]

BLOCK: Final = 20  # candidates scored together; whole tiles


class Scratch(NamedTuple):
    """Memory of one scoring thread, for weights of one shape."""

    candidates: Matrix  # [C, d]
    queries: Matrix  # [C, A1]
    interests: Matrix  # [C, d]
    head_first: Matrix  # [C, H1]
    head_second: Matrix  # [C, H2]
    user: Matrix  # [1, d]
    user_part: Matrix  # [1, H1]
    history: Matrix  # [L, d]
    keys: Matrix  # [L, A1]
    products: Matrix  # [L, d]
    pairs_first: Matrix  # [L, A1]
    pairs_second: Matrix  # [L, A2]
    attention: Vector  # [L]
    nothing: Matrix  # [max(L, C), max(A2, H2)], zeros


def scratch_for(weights: Weights, history_length: int) -> Scratch:
    """Scratch for scoring with these weights and histories of at most this length."""
    width, a1 = weights.query.shape
    a2, h1, h2 = len(weights.attention_out), len(weights.head_bias), len(weights.head_out)
    longest = history_length

    def matrix(rows: int, columns: int) -> Matrix:
        return np.zeros((rows, columns), np.float32)

    return Scratch(
        candidates=matrix(BLOCK, width),
        queries=matrix(BLOCK, a1),
        interests=matrix(BLOCK, width),
        head_first=matrix(BLOCK, h1),
        head_second=matrix(BLOCK, h2),
        user=matrix(1, width),
        user_part=matrix(1, h1),
        history=matrix(longest, width),
        keys=matrix(longest, a1),
        products=matrix(longest, width),
        pairs_first=matrix(longest, a1),
        pairs_second=matrix(longest, a2),
        attention=np.zeros(longest, np.float32),
        nothing=matrix(max(longest, BLOCK), max(a2, h2)),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(out: Matrix, rows: int, row: Vector) -> None:
    for i in range(rows):
        out[i, :] = row


# Reassociation alone lets the sum be vectorised; full fastmath would assume NaN away.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _dot(left: Vector, right: Vector) -> np.float32:
    total = np.float32(0.0)
    for i in range(len(left)):
        total += left[i] * right[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _attend(w: Weights, s: Scratch, candidate: int, count: int) -> None:
    """interests[candidate] = the history, weighted by what this candidate makes of it."""
    for t in range(count):
        for j in range(s.history.shape[1]):
            s.products[t, j] = s.candidates[candidate, j] * s.history[t, j]
    rectify(s.products, count, w.product, s.keys, s.queries[candidate], s.pairs_first)
    rectify(
        s.pairs_first,
        count,
        w.attention_hidden,
        s.nothing,
        w.attention_hidden_bias,
        s.pairs_second,
    )

    highest = np.float32(-np.inf)
    for t in range(count):
        s.attention[t] = _dot(s.pairs_second[t], w.attention_out) + w.attention_out_bias
        highest = max(highest, s.attention[t])
    total = np.float32(0.0)
    for t in range(count):
        s.attention[t] = np.exp(s.attention[t] - highest)
        total += s.attention[t]
    s.interests[candidate, :] = np.float32(0.0)
    for t in range(count):
        share = s.attention[t] / total
        for j in range(s.history.shape[1]):
            s.interests[candidate, j] += share * s.history[t, j]


@njit(cache=True, nogil=True, error_model="numpy")
def score(
    weights: Weights,
    user_rows: StoredRows,
    user_keys: Keys,
    user_slots: Slots,
    item_rows: StoredRows,
    item_keys: Keys,
    item_slots: Slots,
    history_keys: Keys,
    history_slots: Slots,
    scratch: Scratch,
    logits: Vector,
) -> None:
    """Logits of one user's candidates; what has a slot of -1 reads as the table's default row.

    Args:
        weights: of the version.
        user_rows: of the user table, d values in a row.
        user_keys: int64[P], the user; P keys of rows whose sum a key is, mostly one: itself.
        user_slots: int32[P], where the user's rows are.
        item_rows: of the item table, d values in a row.
        item_keys: int64[N · P], the candidates.
        item_slots: int32[N · P], where their rows are.
        history_keys: int64[T · P], the history without its filler, oldest first, T <= L.
        history_slots: int32[T · P], where its items' rows are.
        scratch: of the calling thread, made for these weights.
        logits: float32[N], written.
    """
    w, s = weights, scratch
    count = int(len(history_slots) // item_rows.parts)
    candidates = int(len(item_slots) // item_rows.parts)
    gather(user_rows, user_keys, user_slots, 0, 1, s.user)
    _fill(s.user_part, 1, w.head_bias)
    accumulate(s.user, 1, w.head_user, s.user_part)
    gather(item_rows, history_keys, history_slots, 0, count, s.history)
    s.keys[:count, :] = np.float32(0.0)
    accumulate(s.history, count, w.key, s.keys)

    for start in range(0, candidates, BLOCK):
        block = min(BLOCK, candidates - start)
        gather(item_rows, item_keys, item_slots, start, block, s.candidates)
        _fill(s.queries, block, w.attention_bias)
        accumulate(s.candidates, block, w.query, s.queries)
        s.interests[:block, :] = np.float32(0.0)
        if count > 0:
            for candidate in range(block):
                _attend(w, s, candidate, count)
        s.head_first[:block, :] = np.float32(0.0)
        accumulate(s.candidates, block, w.head_item, s.head_first)
        rectify(s.interests, block, w.head_interest, s.head_first, s.user_part[0], s.head_first)
        rectify(s.head_first, block, w.head_hidden, s.nothing, w.head_hidden_bias, s.head_second)
        for candidate in range(block):
            logits[start + candidate] = _dot(s.head_second[candidate], w.head_out) + w.head_out_bias
