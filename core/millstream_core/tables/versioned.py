"""The table that a server holds: many versions of it, sharing every row they have in common.

    key ──index──► ordinal ──(per version)──► slot ──► row

Rows are written once and never changed, so a version is only a map from ordinals to slots, whose
pieces versions share too (see `maps`). A version costs its changed rows and its changed chunks,
applying it disturbs no reader, and going back to an older one is picking up another reference.

Keys come and go, but an index that readers use without a lock can only grow. So it serves one
epoch: once most of its keys have no row, or some of them when it would have to grow, the next
version begins another one with the keys that it has. Versions of both epochs stand side by side,
each with the index that it was made with, and an index goes with the last version that uses it.

A row lives as long as some version that uses it is referenced from anywhere; that is what pins a
version to a request. `collect` finds the rows that nobody can reach any more.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined, row_hashes
from millstream_core.tables.encoding import decode
from millstream_core.tables.index import KeyIndex, Keys, Ordinals
from millstream_core.tables.maps import CHUNK, NOTHING, ChunkIds, SlotMaps
from millstream_core.tables.shared_rows import SharedRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Column
    from millstream_core.tables.digest import Hashes

MOST_KEYS_A_ROW: Final = 2  # of an index, before the next epoch begins; building it costs as much
GROWING_KEYS_A_ROW: Final = 1.125  # the same where the index would have to grow
PIECE: Final = 1 << 14  # rows worked on at a time: a few milliseconds


@dataclass(frozen=True, eq=False)
class TableVersion:
    """One version of a table; holding a reference keeps its rows."""

    table: VersionedTable
    index: KeyIndex  # of its epoch
    chunk_ids: ChunkIds
    rows: int
    digest: str  # state digest of all its rows

    def slots(self, keys: Keys) -> Ordinals:
        """Where the rows of these keys are in this version, int32[n]; -1 where there is none."""
        return self.table.maps.slots(self.chunk_ids, self.index, keys)

    def gather(self, column: str, keys: Keys) -> NDArray[Any]:
        """The rows of these keys as live values, [n, width]; zeros where there is none."""
        slots = self.slots(keys)
        stored = self.table.values(column)[np.maximum(slots, 0)]
        rows = decode(stored, self.table.columns[column].dtype)
        rows[slots < 0] = 0
        return rows


class VersionedTable:
    """All versions of one table in this process; one thread loads, any thread reads."""

    def __init__(self, columns: Mapping[str, Column], max_rows: int = 1 << 26) -> None:
        """Start with no version.

        Args:
            columns: the serve columns by name.
            max_rows: bound on rows held by all versions together; only address space is set
                aside for them.
        """
        self.columns = dict(columns)
        self.maps = SlotMaps(4 * max_rows // CHUNK)
        self._rows = SharedRows(columns, max_rows)
        self._max_rows = max_rows
        self._live: weakref.WeakSet[TableVersion] = weakref.WeakSet()

    @property
    def bytes(self) -> int:
        """Memory of indexes, and of rows and maps in use or that `collect` has set free."""
        indexes = {version.index for version in list(self._live)}
        return self._rows.bytes + self.maps.bytes + sum(index.bytes for index in indexes)

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, stored width], by slot; never written again."""
        return self._rows.values(column)

    def load(
        self,
        parent: TableVersion | None,
        keys: Keys,
        columns: Mapping[str, NDArray[Any]],
        gone: Keys,
        *,
        whole: bool,
        rest: Callable[[], None] = lambda: None,
    ) -> TableVersion:
        """Make a version out of another and some rows; the other stays as it is.

        Args:
            parent: the version to start from, or to share equal rows with; None at first.
            keys: int64[n], each once.
            columns: name -> [n, stored width], the rows of these keys as stored.
            gone: int64[m], keys that have no row any more.
            whole: the given rows are all there are; the parent's others do not carry over.
            rest: called after every few thousand rows; paces the work beside readers.

        Raises:
            MemoryError: more keys or rows than the table was made for.
        """
        carried = parent if not whole else None
        index, chunk_ids = self._begin(parent, len(keys), whole=whole)
        ordinals = index.insert(keys)
        old = parent.slots(keys) if parent is not None else np.full(len(keys), NOTHING, np.int32)
        slots = np.empty(len(keys), np.int32)
        digest = EMPTY_STATE if carried is None else carried.digest
        for piece in _pieces(len(keys)):
            given = {name: rows[piece] for name, rows in columns.items()}
            slots[piece] = self._rows.place(old[piece], given)
            removed = NO_HASHES if carried is None else self._hashes(keys[piece], old[piece])
            digest = combined(digest, row_hashes(keys[piece], given), removed)
            rest()

        gone = np.empty(0, np.int64) if carried is None else gone
        gone_slots = np.empty(0, np.int32) if carried is None else carried.slots(gone)
        for piece in _pieces(len(gone)):
            digest = combined(digest, NO_HASHES, self._hashes(gone[piece], gone_slots[piece]))
        gone_ordinals = index.lookup(gone[gone_slots >= 0])
        version = TableVersion(
            table=self,
            index=index,
            chunk_ids=self.maps.changed(
                chunk_ids,
                len(index),
                np.concatenate([ordinals, gone_ordinals]),
                np.concatenate([slots, np.full(len(gone_ordinals), NOTHING, np.int32)]),
            ),
            rows=len(keys)
            if carried is None
            else carried.rows + int(np.count_nonzero(old < 0)) - len(gone_ordinals),
            digest=digest,
        )
        self._live.add(version)
        return version

    def collect(self) -> int:
        """Find the rows and chunks that no living version uses, for later loads to take.

        Returns:
            How many rows are free now.
        """
        living = [version.chunk_ids for version in list(self._live)]
        return self._rows.free_all_but(self.maps.collect(living, self._rows.used))

    def _begin(
        self, parent: TableVersion | None, count: int, *, whole: bool
    ) -> tuple[KeyIndex, ChunkIds]:
        """The index and the map that a version starts from: its parent's, or those of an epoch.

        Args:
            parent: the version below, if any.
            count: rows that are given.
            whole: none of the parent's rows carry over by themselves.
        """
        nothing = np.empty(0, np.int32)
        rows = count if whole or parent is None else parent.rows
        most: float = MOST_KEYS_A_ROW
        if parent is not None and parent.index.would_grow(count):
            most = GROWING_KEYS_A_ROW
        if parent is not None and len(parent.index) <= most * rows:
            return parent.index, nothing if whole else parent.chunk_ids
        index = KeyIndex(self._max_rows)
        if whole or parent is None:
            return index, nothing
        keys = parent.index.keys()[self.maps.held(parent.chunk_ids)]
        return index, self.maps.changed(nothing, len(keys), index.insert(keys), parent.slots(keys))

    def _hashes(self, keys: Keys, slots: Ordinals) -> Hashes:
        """Hashes of the rows of those keys that have one, uint64[<= n, 2]."""
        has_row = slots >= 0
        return self._rows.hashes(keys[has_row], slots[has_row])


def _pieces(count: int) -> Iterator[slice]:
    for start in range(0, count, PIECE):
        yield slice(start, start + PIECE)
