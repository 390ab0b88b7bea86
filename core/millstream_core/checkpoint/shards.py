"""How a table's rows are divided into files that are written, fetched and taken in one by one.

The unit is a virtual bucket (`tables.hashing.buckets_of`); a shard holds a range of them. Small
versions are one shard. A base of many rows is as many as it takes for each to stay small: so a
table is never in memory a second time because it is written or read, and its parts travel beside
each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.tables.hashing import BUCKETS, buckets_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_core.tables.index import Keys

Buckets = tuple[int, int]  # half-open range

SHARD_BYTES: Final = 32 << 20  # of rows, about
KEYS: Final = "keys"  # files of a shard beside its columns
GONE: Final = "evicted"


@dataclass(frozen=True)
class Part:
    """What one shard holds of some rows."""

    buckets: Buckets
    keys: Keys  # ascending
    rows: NDArray[np.int64] | None  # where these are among the rows; None: they are the rows
    gone: Keys  # ascending

    def array(self, file: str, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """What one of its files holds: KEYS, GONE, or the rows of a column."""
        if file == KEYS:
            return self.keys
        if file == GONE:
            return self.gone
        column = columns[file]
        return column if self.rows is None else np.take(column, self.rows, axis=0)


def divided(keys: Keys, gone: Keys, row_bytes: int, buckets: Buckets = (0, BUCKETS)) -> list[Part]:
    """Divide rows and tombstones into shards of about SHARD_BYTES.

    Args:
        keys: int64[n], each once.
        gone: int64[m], each once.
        row_bytes: of all columns together.
        buckets: those that the keys are of.
    """
    first, end = buckets
    count = 1
    while 2 * count <= end - first and len(keys) * row_bytes > count * SHARD_BYTES:
        count *= 2
    gone = np.sort(gone)
    order = None if np.all(keys[1:] > keys[:-1]) else np.argsort(keys)
    if count == 1:
        return [Part(buckets, keys if order is None else keys[order], order, gone)]
    bounds = [first + (end - first) * number // count for number in range(count + 1)]
    places = np.arange(len(keys)) if order is None else order
    numbers = _shard_of(keys[places], bounds)
    by_shard = places[np.argsort(numbers, kind="stable")]
    ends = np.cumsum(np.bincount(numbers, minlength=count))
    left = _shard_of(gone, bounds)
    return [
        Part((bounds[number], bounds[number + 1]), keys[rows], rows, gone[left == number])
        for number, rows in enumerate(np.split(by_shard, ends[:-1]))
    ]


def _shard_of(keys: Keys, bounds: list[int]) -> NDArray[np.int16]:
    return np.searchsorted(bounds[1:], buckets_of(keys), side="right").astype(np.int16)
