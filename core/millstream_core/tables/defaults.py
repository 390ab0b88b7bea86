"""What a key without a row reads as: the same bits wherever it is asked for.

    Zeros       zeros
    SharedOov   the row of the key PAD, as stored; zeros while there is none
    HashInit    what the key's own row would begin with, never quantised

A version carries the policy, so trainer and server have nothing else to agree on. New rows of a
training table are drawn here too: with HashInit a key that gets its row goes on from what it read
as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from millstream_core.tables.hashing import GOLDEN, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNIT = np.float32(1 << 24)


@njit(cache=True, nogil=True, inline="always")
def draw_row(row: NDArray[np.float32], key: np.int64, seed: np.uint64, spread: np.float32) -> None:
    """Fill a row with values from (-spread, spread), drawn by key and seed alone."""
    state = mix(np.uint64(key) ^ mix(seed + GOLDEN))
    for j in range(len(row)):
        state += GOLDEN
        unit = np.float32(mix(state) >> np.uint64(40)) / _UNIT  # [0, 1)
        row[j] = (np.float32(2) * unit - np.float32(1)) * spread


@njit(cache=True, nogil=True)
def draw_rows(
    rows: NDArray[np.float32],
    places: NDArray[np.int32],
    keys: NDArray[np.int64],
    seed: np.uint64,
    spread: np.float32,
) -> None:
    """Fill a row for each key, so that every replay draws the same.

    Args:
        rows: float32[m, width], written.
        places: int32[n], where in `rows`.
        keys: int64[n].
        seed: of the table.
        spread: bound on the values; 0 draws zeros.
    """
    for i in range(len(keys)):
        draw_row(rows[places[i]], keys[i], seed, spread)


@njit(cache=True, nogil=True)
def fill_rows(rows: NDArray[Any], places: NDArray[np.int32], value: int) -> None:
    """Fill rows with one value; numpy's indexing by an array takes several times as long.

    Args:
        rows: [m, width], written.
        places: int32[n], where in `rows`.
        value: for all.
    """
    for i in range(len(places)):
        for j in range(rows.shape[1]):
            rows[places[i], j] = value
