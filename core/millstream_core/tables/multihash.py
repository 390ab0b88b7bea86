"""Keys without end in few rows: a key is the sum of one row from each of 2 or 3 small tables.

    key ──hash 0──► row of table 0 ──┐
       └──hash 1──► row of table 1 ──┴─► their sum, in that order

Two keys are told apart unless every hash puts them together, which of N rows and k tables happens
to two keys in N^k (Tito Svenstrup et al., Hash Embeddings for Efficient Word Representations,
NeurIPS 2017, without the weights by key). The small tables are one table: their rows have keys of
their own, which name table and row, and are admitted, trained and published like any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.features import PAD
from millstream_core.tables.hashing import GOLDEN, mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.manifest import MultiHash
    from millstream_core.tables.index import Keys


# Far from where ids are, so that no row is taken for the key of somebody who is erased.
FIRST: Final = PAD + 1


def row_keys(keys: Keys, by: MultiHash) -> NDArray[np.int64]:
    """The keys of the rows whose sum each of these keys is, int64[n, tables].

    Those of table t and row r are FIRST + t · rows + r; PAD, which is no id, stays what it is.
    """
    found = np.empty((len(keys), by.tables), np.int64)
    _hash(keys, np.uint64(by.rows), np.uint64(by.seed), found)
    return found


@njit(cache=True, nogil=True)
def _hash(keys: Keys, rows: np.uint64, seed: np.uint64, found: NDArray[np.int64]) -> None:
    for table in range(found.shape[1]):
        salt = mix(seed + np.uint64(table + 1) * GOLDEN)
        for i in range(len(keys)):
            if keys[i] == PAD:
                found[i, table] = PAD
            else:
                row = mix(np.uint64(keys[i]) ^ salt) % rows
                found[i, table] = FIRST + np.int64(np.uint64(table) * rows + row)
