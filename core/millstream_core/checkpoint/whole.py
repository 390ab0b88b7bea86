"""All rows of one table, or of one memory of admission, as of a version."""

from __future__ import annotations

from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

import numpy as np

from millstream_core.checkpoint.files import TableRows
from millstream_core.checkpoint.merging import merged
from millstream_core.checkpoint.reading import part_reads, read_table
from millstream_core.checkpoint.routes import leg_tables
from millstream_core.store import IntegrityError
from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined, row_hashes
from millstream_core.tables.hashing import buckets_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from millstream_api.manifest import Manifest
    from millstream_core.checkpoint.reading import PartRead
    from millstream_core.checkpoint.routes import Leg
    from millstream_core.checkpoint.shards import Buckets
    from millstream_core.store import ModelStore


def read_way(
    store: ModelStore, pool: Executor, legs: Sequence[Leg], name: str
) -> Iterator[tuple[Buckets, TableRows]]:
    """Fetch one table of every leg and join them, one range of buckets after the other.

    Args:
        store: where.
        pool: fetches in parallel.
        legs: newest first, see `find_way`.
        name: of the table.

    Raises:
        IntegrityError: an object is not what it should be.
    """
    sides = [
        _Side(part_reads(store, pool, leg.target.lineage, leg_tables(store, leg)[name]))
        for leg in reversed(legs)
    ]
    bounds = {bound for side in sides for part in side.parts for bound in part.buckets}
    for buckets in pairwise(sorted(bounds)):
        if found := [rows for side in sides if (rows := side.rows(buckets)) is not None]:
            yield buckets, merged(found)


def read_whole(
    store: ModelStore, pool: Executor, legs: Sequence[Leg], name: str
) -> Iterator[tuple[Buckets, TableRows]]:
    """All rows of a table, by a way from nothing; else as `read_way`.

    Raises:
        IntegrityError: also, at the end, where the rows do not add up to what the version's
            writer had.
    """
    table = legs[0].manifest.tables[name]
    digest, count = EMPTY_STATE, 0
    for buckets, found in read_way(store, pool, legs, name):
        rows = found.without_tombstones()
        served = {
            column: array
            for column, array in rows.columns.items()
            if table.columns[column].group == "serve"
        }
        digest = combined(digest, row_hashes(rows.keys, served), NO_HASHES)
        count += len(rows.keys)
        yield buckets, rows
    if (digest, count) != (table.digest_after, table.rows):
        raise IntegrityError(
            "LineageBroken",
            f"table {name} adds up to {count} rows of digest {digest}, its writer had "
            f"{table.rows} of {table.digest_after}",
        )


class _Side:
    """One leg's rows, for ranges of buckets that ascend; holds one part at a time."""

    def __init__(self, parts: Sequence[PartRead]) -> None:
        self.parts = parts
        self._next = 0
        self._held: tuple[Buckets, TableRows] | None = None

    def rows(self, buckets: Buckets) -> TableRows | None:
        """Its rows of these buckets, which lie in one part or in none."""
        while self._held is None or self._held[0][1] <= buckets[0]:
            if self._next == len(self.parts) or self.parts[self._next].buckets[0] > buckets[0]:
                return None
            part = self.parts[self._next]
            self._held, self._next = (part.buckets, part.read()), self._next + 1
        covered, rows = self._held
        if covered == buckets:
            return rows
        numbers = buckets_of(rows.keys)
        mine = np.flatnonzero((numbers >= buckets[0]) & (numbers < buckets[1]))
        left = buckets_of(rows.gone)
        return TableRows(
            rows.keys[mine],
            {name: np.take(array, mine, axis=0) for name, array in rows.columns.items()},
            rows.gone[(left >= buckets[0]) & (left < buckets[1])],
        )


def read_memory(
    store: ModelStore, pool: Executor, links: Sequence[Manifest], name: str
) -> TableRows:
    """All that a version remembers of keys without a row, in one way of admission.

    Args:
        store: where.
        pool: fetches in parallel.
        links: the version and its ancestors down to the base, newest first.
        name: of the memory.

    Raises:
        IntegrityError: an object is not what it should be.
    """
    return merged(
        [
            read_table(store, pool, link.lineage, link.admission[name])
            for link in reversed(remembering(links, name))
        ]
    ).without_tombstones()


def remembering(links: Sequence[Manifest], name: str) -> list[Manifest]:
    """The newest of these versions that hold this memory of admission, as they come: newest first.

    One without it was written while another way of admission was asked for; whatever is
    remembered in the next ones began anew.

    Args:
        links: a version and its ancestors down to the base.
        name: of the memory.
    """
    return list(takewhile(lambda link: name in link.admission, links))
