"""An order-independent digest of a table's state, kept up to date row by row.

The digest is the sum of one 128-bit hash per (key, row), each half modulo 2^64. So writer and
reader can each update it by the rows that changed and compare after every apply: a row lost,
doubled or altered shows. It guards against mistakes, not against forgers: those meet the SHA-256
of the files.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_core.tables.hashing import GOLDEN, mix

EMPTY_STATE: Final = f"{0:032x}"
_LANES: Final = 32  # rows hashed side by side

Hashes = NDArray[np.uint64]
NO_HASHES: Final[Hashes] = np.empty((0, 2), np.uint64)


def row_hashes(keys: NDArray[np.int64], columns: dict[str, NDArray[Any]]) -> Hashes:
    """One 128-bit hash per row as two independent 64-bit ones, uint64[n, 2].

    Args:
        keys: int64[n].
        columns: name -> array[n, width] as stored; hashed in order of their names.
    """
    hashes = np.empty((len(keys), 2), np.uint64)
    words = [_words(columns[name]) for name in sorted(columns)]
    _hash_rows(keys, words[0] if len(words) == 1 else np.concatenate(words, axis=1), hashes)
    return hashes


def combined(state: str, added: Hashes, removed: Hashes) -> str:
    """A state digest after some rows came and some went, 32 hex digits.

    Args:
        state: the digest before.
        added: row_hashes of the new rows.
        removed: row_hashes of the rows as they were before.
    """
    before = np.frombuffer(bytes.fromhex(state), ">u8").astype(np.uint64)
    # Sums of uint64 wrap around, which is the arithmetic wanted here.
    after = before + added.sum(axis=0, dtype=np.uint64) - removed.sum(axis=0, dtype=np.uint64)
    data: bytes = after.astype(">u8").tobytes()
    return data.hex()


def _words(column: NDArray[Any]) -> NDArray[np.uint32]:
    """The bytes of each row as 32-bit words, uint32[n, ⌈bytes / 4⌉], zeros after the last."""
    size = column.shape[1] * column.dtype.itemsize
    data = np.ascontiguousarray(column).view(np.uint8).reshape(len(column), size)
    if size % 4:
        data = np.pad(data, ((0, 0), (0, -size % 4)))
    return data.view(np.uint32)


@njit(cache=True, nogil=True)
def _hash_rows(keys: NDArray[np.int64], words: NDArray[np.uint32], hashes: Hashes) -> None:
    # A row's words follow from each other, so rows are taken side by side and turned on the way:
    # the processor works on many at once, which takes less than half the time.
    tile = np.zeros((words.shape[1], _LANES), np.uint32)
    first, second = np.zeros(_LANES, np.uint64), np.zeros(_LANES, np.uint64)
    for start in range(0, len(keys), _LANES):
        count = min(_LANES, len(keys) - start)
        for lane in range(count):
            first[lane] = mix(np.uint64(keys[start + lane]) + GOLDEN)
            second[lane] = mix(first[lane] ^ GOLDEN)
            for j in range(words.shape[1]):
                tile[j, lane] = words[start + lane, j]
        for j in range(words.shape[1]):
            for lane in range(_LANES):
                word = np.uint64(tile[j, lane])
                first[lane] = mix((first[lane] + GOLDEN) ^ word)
                second[lane] = mix((second[lane] ^ word) + GOLDEN)
        for lane in range(count):
            hashes[start + lane, 0] = first[lane]
            hashes[start + lane, 1] = second[lane]
