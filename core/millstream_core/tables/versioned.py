"""The table that a server holds: many versions of it, sharing every row they have in common.

    key ──index──► ordinal ──(per version)──► slot ──► row

Rows are written once and never changed, so a version is only a map from ordinals to slots. The
map is cut into chunks of 1,024 ordinals that versions share too, copied when a delta touches
them. A version costs its changed rows and its changed chunks, applying it disturbs no reader,
and going back to an older one is picking up another reference.

A row lives as long as some version that uses it is referenced from anywhere; that is what pins a
version to a request. `collect` finds the rows that nobody can reach any more.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

from millstream_core.tables.arena import Arena
from millstream_core.tables.digest import EMPTY_STATE, combined, row_hashes
from millstream_core.tables.encoding import decode, stored_form
from millstream_core.tables.index import KeyIndex, Keys, Ordinals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Column

CHUNK_BITS: Final = 10
CHUNK: Final = 1 << CHUNK_BITS
NOTHING: Final = -1


@dataclass(frozen=True, eq=False)
class TableVersion:
    """One version of a table; holding a reference keeps its rows."""

    table: VersionedTable
    chunk_ids: NDArray[np.int32]  # [ordinals / CHUNK] -> row of table.chunks, or NOTHING
    rows: int
    digest: str  # state digest of all its rows

    def slots(self, keys: Keys) -> Ordinals:
        """Where the rows of these keys are in this version, int32[n]; -1 where there is none."""
        slots = self.table.index.lookup(keys)
        _to_slots(self.chunk_ids, self.table.chunks, slots)
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
        self.index = KeyIndex(max_rows)
        self._rows = {
            name: Arena(*stored_form(column.dtype, column.width), max_rows)
            for name, column in columns.items()
        }
        self._chunks = Arena(np.dtype(np.int32), CHUNK, 4 * max_rows // CHUNK)
        self._live: weakref.WeakSet[TableVersion] = weakref.WeakSet()
        self._free_slots, self._used_slots = np.empty(0, np.int32), 0
        self._free_chunks, self._used_chunks = np.empty(0, np.int32), 0

    @property
    def chunks(self) -> NDArray[np.int32]:
        """Pieces of slot maps, int32[max, CHUNK]."""
        return self._chunks.values

    @property
    def bytes(self) -> int:
        """Memory of rows and maps that some version uses or that `collect` has set free."""
        row = sum(int(arena.values[0].nbytes) for arena in self._rows.values())
        return self._used_slots * row + self._used_chunks * CHUNK * 4

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
        ordinals = self.index.insert(keys)
        old = parent.slots(keys) if parent is not None else np.full(len(keys), NOTHING, np.int32)
        slots = self._place(old, columns)
        carried = parent if not whole else None
        gone = np.empty(0, np.int64) if carried is None else gone
        gone_slots = carried.slots(gone) if carried is not None else np.empty(0, np.int32)
        left = gone_slots >= 0

        chunk_ids = np.full(-(-len(self.index) // CHUNK), NOTHING, np.int32)
        if carried is not None:
            chunk_ids[: len(carried.chunk_ids)] = carried.chunk_ids
        gone_ordinals = self.index.lookup(gone[left])
        self._write_map(
            chunk_ids,
            np.concatenate([ordinals, gone_ordinals]),
            np.concatenate([slots, np.full(len(gone_ordinals), NOTHING, np.int32)]),
        )

        replaced = (old >= 0) & (carried is not None)
        removed_keys = np.concatenate([keys[replaced], gone[left]])
        removed = self._at(np.concatenate([old[replaced], gone_slots[left]]))
        version = TableVersion(
            table=self,
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
        uses_chunk = np.zeros(self._used_chunks, np.bool_)
        for version in list(self._live):
            uses_chunk[version.chunk_ids[version.chunk_ids >= 0]] = True
        uses_slot = np.zeros(self._used_slots, np.bool_)
        _mark(self.chunks, uses_chunk, uses_slot)
        self._free_chunks = np.nonzero(~uses_chunk)[0].astype(np.int32)
        self._free_slots = np.nonzero(~uses_slot)[0].astype(np.int32)
        return len(self._free_slots)

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

    def _write_map(self, chunk_ids: NDArray[np.int32], ordinals: Ordinals, slots: Ordinals) -> None:
        """Point ordinals at slots in fresh copies of the chunks concerned."""
        places = np.unique(ordinals >> CHUNK_BITS)
        reused, self._free_chunks = (
            self._free_chunks[: len(places)],
            self._free_chunks[len(places) :],
        )
        start = self._used_chunks
        self._used_chunks += len(places) - len(reused)
        fresh = np.concatenate([reused, np.arange(start, self._used_chunks, dtype=np.int32)])
        before = chunk_ids[places]
        self.chunks[fresh] = self.chunks[np.maximum(before, 0)]
        self.chunks[fresh[before < 0]] = NOTHING
        chunk_ids[places] = fresh
        self.chunks[chunk_ids[ordinals >> CHUNK_BITS], ordinals & (CHUNK - 1)] = slots

    def _at(self, slots: Ordinals) -> dict[str, NDArray[Any]]:
        return {name: arena.values[slots] for name, arena in self._rows.items()}


@njit(cache=True, nogil=True)
def _to_slots(chunk_ids: NDArray[np.int32], chunks: NDArray[np.int32], ordinals: Ordinals) -> None:
    """Replace ordinals by the slots that a version maps them to."""
    for i in range(len(ordinals)):
        ordinal = ordinals[i]
        place = ordinal >> CHUNK_BITS
        # A key that came later than this version may lie beyond its map.
        if ordinal < 0 or place >= len(chunk_ids) or chunk_ids[place] < 0:
            ordinals[i] = NOTHING
        else:
            ordinals[i] = chunks[chunk_ids[place], ordinal & (CHUNK - 1)]


@njit(cache=True, nogil=True)
def _mark(
    chunks: NDArray[np.int32], uses_chunk: NDArray[np.bool_], uses_slot: NDArray[np.bool_]
) -> None:
    for chunk in range(len(uses_chunk)):
        if uses_chunk[chunk]:
            for place in range(CHUNK):
                slot = chunks[chunk, place]
                if slot >= 0:
                    uses_slot[slot] = True
