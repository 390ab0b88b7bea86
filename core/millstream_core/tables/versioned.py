"""The table that a server holds: many versions of it, sharing every row they have in common.

    key ──index──► ordinal ──(per version)──► slot ──► row

Rows are written once and never changed, so a version is only a map from ordinals to slots, whose
pieces versions share too (see `maps`). A version costs its changed rows and its changed chunks,
applying it disturbs no reader, and going back to an older one is picking up another reference.

Keys come and go, but an index that readers use without a lock can only grow. So it serves one
epoch: once most of its keys have no row, the next version begins another one with the keys that
it has. Versions of both epochs stand side by side, each with the index that it was made with, and
an index goes with the last version that uses it.

A row lives as long as some version that uses it is referenced from anywhere; that is what pins a
version to a request. `collect` finds the rows that nobody can reach any more.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.tables.arena import Arena
from millstream_core.tables.digest import EMPTY_STATE, combined, row_hashes
from millstream_core.tables.encoding import decode, stored_form
from millstream_core.tables.index import KeyIndex, Keys, Ordinals
from millstream_core.tables.maps import CHUNK, NOTHING, ChunkIds, SlotMaps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Column

MOST_KEYS_A_ROW: Final = 2  # of an index, before the next epoch begins; building it costs as much


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
        slots = self.index.lookup(keys)
        self.table.maps.find(self.chunk_ids, slots)
        return slots

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
        self._max_rows = max_rows
        self._rows = {
            name: Arena(*stored_form(column.dtype, column.width), max_rows)
            for name, column in columns.items()
        }
        self._live: weakref.WeakSet[TableVersion] = weakref.WeakSet()
        self._free_slots, self._used_slots = np.empty(0, np.int32), 0

    @property
    def bytes(self) -> int:
        """Memory of indexes, and of rows and maps in use or that `collect` has set free."""
        row = sum(int(arena.values[0].nbytes) for arena in self._rows.values())
        indexes = {version.index for version in list(self._live)}
        return self._used_slots * row + self.maps.bytes + sum(index.bytes for index in indexes)

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, stored width], by slot; never written again."""
        return self._rows[column].values

    def load(
        self,
        parent: TableVersion | None,
        keys: Keys,
        columns: Mapping[str, NDArray[Any]],
        gone: Keys,
        *,
        whole: bool,
    ) -> TableVersion:
        """Make a version out of another and some rows; the other stays as it is.

        Args:
            parent: the version to start from, or to share equal rows with; None at first.
            keys: int64[n], each once.
            columns: name -> [n, stored width], the rows of these keys as stored.
            gone: int64[m], keys that have no row any more.
            whole: the given rows are all there are; the parent's others do not carry over.
        """
        carried = parent if not whole else None
        index, chunk_ids = self._begin(parent, len(keys), whole=whole)
        ordinals = index.insert(keys)
        old = parent.slots(keys) if parent is not None else np.full(len(keys), NOTHING, np.int32)
        slots = self._place(old, columns)
        gone = np.empty(0, np.int64) if carried is None else gone
        gone_slots = carried.slots(gone) if carried is not None else np.empty(0, np.int32)
        left = gone_slots >= 0
        gone_ordinals = index.lookup(gone[left])
        chunk_ids = self.maps.changed(
            chunk_ids,
            len(index),
            np.concatenate([ordinals, gone_ordinals]),
            np.concatenate([slots, np.full(len(gone_ordinals), NOTHING, np.int32)]),
        )

        replaced = (old >= 0) & (carried is not None)
        removed_keys = np.concatenate([keys[replaced], gone[left]])
        removed = self._at(np.concatenate([old[replaced], gone_slots[left]]))
        version = TableVersion(
            table=self,
            index=index,
            chunk_ids=chunk_ids,
            rows=(carried.rows if carried else 0)
            + len(keys)
            - int(np.count_nonzero(replaced))
            - int(np.count_nonzero(left)),
            digest=combined(
                carried.digest if carried else EMPTY_STATE,
                row_hashes(keys, dict(columns)),
                row_hashes(removed_keys, removed),
            ),
        )
        self._live.add(version)
        return version

    def collect(self) -> int:
        """Find the rows and chunks that no living version uses, for later loads to take.

        Returns:
            How many rows are free now.
        """
        living = [version.chunk_ids for version in list(self._live)]
        uses_slot = self.maps.collect(living, self._used_slots)
        self._free_slots = np.flatnonzero(~uses_slot).astype(np.int32)
        return len(self._free_slots)

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
        if parent is not None and len(parent.index) <= MOST_KEYS_A_ROW * rows:
            return parent.index, nothing if whole else parent.chunk_ids
        index = KeyIndex(self._max_rows)
        if whole or parent is None:
            return index, nothing
        keys = parent.index.keys()[self.maps.held(parent.chunk_ids)]
        return index, self.maps.changed(nothing, len(keys), index.insert(keys), parent.slots(keys))

    def _place(self, old: Ordinals, columns: Mapping[str, NDArray[Any]]) -> Ordinals:
        """Slots for these rows: the old one where the row is the same, else a new one, written."""
        is_same = old >= 0
        for name, given in columns.items():
            held = self.values(name)[np.maximum(old, 0)]
            # Bytes, not values: -0.0 and NaN must not count as what they are not.
            size = given.dtype.itemsize * given.shape[1]
            same = held.view(np.uint8).reshape(-1, size) == np.ascontiguousarray(given).view(
                np.uint8
            ).reshape(-1, size)
            is_same &= same.all(axis=1)
        slots = old.copy()
        new = np.nonzero(~is_same)[0]
        slots[new] = self._take_slots(len(new))
        for name, given in columns.items():
            self.values(name)[slots[new]] = given[new]
        return slots

    def _take_slots(self, count: int) -> Ordinals:
        reused, self._free_slots = self._free_slots[:count], self._free_slots[count:]
        start = self._used_slots
        self._used_slots += count - len(reused)
        capacity = len(next(iter(self._rows.values())).values)
        if self._used_slots > capacity:
            self._used_slots = start
            raise MemoryError(
                f"the versions held together need more than {capacity} rows: hold fewer"
            )
        return np.concatenate([reused, np.arange(start, self._used_slots, dtype=np.int32)])

    def _at(self, slots: Ordinals) -> dict[str, NDArray[Any]]:
        return {name: arena.values[slots] for name, arena in self._rows.items()}
