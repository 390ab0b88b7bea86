"""The forward pass of DIN over rows that stay where they are: in the arenas of the tables.

One call scores one request without the GIL and without allocating: rows are gathered by slot, and
decoded on the way, into scratch of the calling thread; candidates go through in blocks that fit
the first-level cache.

Letters: N candidates, T history items (at most L), d embedding width, D the same padded, A1 A2 H1
H2 padded widths of the hidden layers, C candidates of a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_serving.engine.exponential import exponential
from millstream_serving.engine.lines import zeros
from millstream_serving.engine.rows import gather
from millstream_serving.engine.tasks import write_logits
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
    interests: Matrix  # [C, D]
    head_first: Matrix  # [C, H1]
    head_second: Matrix  # [C, H2]
    user: Matrix  # [1, d]
    user_part: Matrix  # [1, H1]
    history: Matrix  # [L, d]
    seen: Matrix  # [L, D], the same
    keys: Matrix  # [L, A1]
    products: Matrix  # [L, d]
    pairs_first: Matrix  # [L, A1]
    pairs_second: Matrix  # [L, A2]
    attention: Vector  # [C · L]
    nothing: Matrix  # [max(L, C), max(A2, H2)], zeros


def scratch_for(weights: Weights, history_length: int) -> Scratch:
    """Scratch for scoring with these weights and histories of at most this length."""
    width, a1 = weights.query.shape
    a2, h1, h2 = len(weights.attention_out), len(weights.head_bias), weights.head_out.shape[1]
    longest = history_length

    def matrix(rows: int, columns: int) -> Matrix:
        return zeros((rows, columns), np.float32)

    return Scratch(
        candidates=matrix(BLOCK, width),
        queries=matrix(BLOCK, a1),
        interests=matrix(BLOCK, len(weights.head_interest)),
        head_first=matrix(BLOCK, h1),
        head_second=matrix(BLOCK, h2),
        user=matrix(1, width),
        user_part=matrix(1, h1),
        history=matrix(longest, width),
        seen=matrix(longest, len(weights.head_interest)),
        keys=matrix(longest, a1),
        products=matrix(longest, width),
        pairs_first=matrix(longest, a1),
        pairs_second=matrix(longest, a2),
        attention=zeros((BLOCK * longest,), np.float32),
        nothing=matrix(max(longest, BLOCK), max(a2, h2)),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(out: Matrix, rows: int, row: Vector) -> None:
    for i in range(rows):
        out[i, :] = row


@njit(cache=True, nogil=True, error_model="numpy")
def copy(rows: Matrix, count: int, out: Matrix) -> None:
    """out[:count, : width of the rows] = rows[:count]."""
    for i in range(count):
        for j in range(rows.shape[1]):
            out[i, j] = rows[i, j]


# Reassociation alone lets the sum be vectorised; full fastmath would assume NaN away.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def dot(left: Vector, right: Vector) -> np.float32:
    """Left · right, added up in any order."""
    total = np.float32(0.0)
    for i in range(len(left)):
        total += left[i] * right[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def softmax(values: Vector) -> None:
    """Make shares of these values, in place; one that is not a number makes all of them so."""
    highest = np.float32(-np.inf)
    for t in range(len(values)):
        highest = max(highest, values[t])
    for t in range(len(values)):
        values[t] = exponential(values[t] - highest)
    total = np.float32(0.0)
    for t in range(len(values)):
        total += values[t]
    for t in range(len(values)):
        values[t] /= total


@njit(cache=True, nogil=True, error_model="numpy")
def begin(
    w: Weights,
    s: Scratch,
    user_rows: StoredRows,
    user_keys: Keys,
    user_slots: Slots,
    item_rows: StoredRows,
    history_keys: Keys,
    history_slots: Slots,
    count: int,
) -> None:
    """What all candidates of a request share: the user's part of the head, and the history."""
    gather(user_rows, user_keys, user_slots, 0, 1, s.user)
    _fill(s.user_part, 1, w.head_bias)
    accumulate(s.user, 1, w.head_user, s.user_part)
    gather(item_rows, history_keys, history_slots, 0, count, s.history)
    copy(s.history, count, s.seen)
    s.keys[:count, :] = np.float32(0.0)
    accumulate(s.history, count, w.key, s.keys)


@njit(cache=True, nogil=True, error_model="numpy")
def take(
    w: Weights,
    s: Scratch,
    item_rows: StoredRows,
    item_keys: Keys,
    item_slots: Slots,
    start: int,
    block: int,
) -> None:
    """The next candidates, and what the attention asks the history for each."""
    gather(item_rows, item_keys, item_slots, start, block, s.candidates)
    _fill(s.queries, block, w.attention_bias)
    accumulate(s.candidates, block, w.query, s.queries)


@njit(cache=True, nogil=True, error_model="numpy")
def _attend(w: Weights, s: Scratch, block: int, count: int) -> None:
    """attention[c · T + t] = what candidate c makes of item t of the history."""
    for candidate in range(block):
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
        for t in range(count):
            s.attention[candidate * count + t] = (
                dot(s.pairs_second[t], w.attention_out) + w.attention_out_bias
            )


@njit(cache=True, nogil=True, error_model="numpy")
def conclude(w: Weights, s: Scratch, block: int, count: int, logits: Vector, start: int) -> None:
    """Logits of these candidates, which begin at `start`, from the attention of each."""
    s.interests[:block, :] = np.float32(0.0)
    if count > 0:
        shares = s.attention[: block * count].reshape(block, count)
        for candidate in range(block):
            softmax(shares[candidate])
        accumulate(shares, block, s.seen[:count], s.interests)
    s.head_first[:block, :] = np.float32(0.0)
    accumulate(s.candidates, block, w.head_item, s.head_first)
    rectify(s.interests, block, w.head_interest, s.head_first, s.user_part[0], s.head_first)
    rectify(s.head_first, block, w.head_hidden, s.nothing, w.head_hidden_bias, s.head_second)
    write_logits(s.head_second, block, w.head_out, w.head_out_bias, logits, start)


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
    begin(w, s, user_rows, user_keys, user_slots, item_rows, history_keys, history_slots, count)
    for start in range(0, candidates, BLOCK):
        block = min(BLOCK, candidates - start)
        take(w, s, item_rows, item_keys, item_slots, start, block)
        _attend(w, s, block, count)
        conclude(w, s, block, count, logits, start)
