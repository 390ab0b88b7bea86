"""From the ordinals of an epoch to slots, in pieces that versions share.

    ordinal ──(chunk_ids of a version)──► chunk ──► slot

A map is cut into chunks of 1,024 ordinals. A version that follows another one copies the chunks
that a delta touches and names the others as they are, so it costs what changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from millstream_core.tables.arena import Arena
from millstream_core.tables.index import find_cells

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millstream_core.tables.index import KeyIndex, Keys, Ordinals

CHUNK_BITS: Final = 10
CHUNK: Final = 1 << CHUNK_BITS
NOTHING: Final = -1
FEW: Final = 2048  # keys, found among a million in 60 µs; a request has some hundred

ChunkIds = NDArray[np.int32]  # [ordinals / CHUNK] -> chunk, or NOTHING


class SlotMaps:
    """All chunks of all versions of one table; one thread writes, any thread reads."""

    def __init__(self, max_chunks: int) -> None:
        """Hold no map.

        Args:
            max_chunks: bound on chunks; only address space is set aside for them.
        """
        self._chunks = Arena(np.dtype(np.int32), CHUNK, max_chunks)
        self._free, self._used = np.empty(0, np.int32), 0

    @property
    def bytes(self) -> int:
        """Memory of chunks in use, and of those that were and can be taken again."""
        return self._used * CHUNK * 4

    def slots(self, chunk_ids: ChunkIds, index: KeyIndex, keys: Keys) -> Ordinals:
        """The slots that a map gives these keys, int32[n]; NOTHING where there is none.

        Args:
            chunk_ids: the map.
            index: the ordinals that it is of.
            keys: int64[n].
        """
        slots = np.empty(len(keys), np.int32)
        find = _find_few if len(keys) <= FEW else _find
        find(index.cells, chunk_ids, self._chunks.values, keys, slots)
        return slots

    def held(self, chunk_ids: ChunkIds) -> Ordinals:
        """The ordinals that have a slot in a map, ascending, int32[n]."""
        places = np.flatnonzero(chunk_ids >= 0)
        within = np.flatnonzero(self._chunks.values[chunk_ids[places]] >= 0)
        ordinals = places[within >> CHUNK_BITS] * CHUNK + (within & (CHUNK - 1))
        found: Ordinals = ordinals.astype(np.int32)
        return found

    def changed(
        self, chunk_ids: ChunkIds, end: int, ordinals: Ordinals, slots: Ordinals
    ) -> ChunkIds:
        """A map like this one, but with these ordinals at these slots, in chunks of its own.

        Args:
            chunk_ids: the map to start from; it stays as it is.
            end: all ordinals of the new map are below.
            ordinals: int32[n], each once.
            slots: int32[n], or NOTHING.

        Raises:
            MemoryError: the maps held together have more chunks than these were made for.
        """
        after = np.full(-(-end // CHUNK), NOTHING, np.int32)
        after[: len(chunk_ids)] = chunk_ids
        places = np.unique(ordinals >> CHUNK_BITS)
        fresh = self._take(len(places))
        before = after[places]
        self._chunks.values[fresh] = self._chunks.values[np.maximum(before, 0)]
        self._chunks.values[fresh[before < 0]] = NOTHING
        after[places] = fresh
        self._chunks.values[after[ordinals >> CHUNK_BITS], ordinals & (CHUNK - 1)] = slots
        return after

    def collect(self, living: Iterable[ChunkIds], slots: int) -> NDArray[np.bool_]:
        """Have chunks that no living map names taken again.

        Args:
            living: all maps that may still be read.
            slots: all slots are below.

        Returns:
            Which slots some living map gives to an ordinal, bool[slots].
        """
        uses_chunk = np.zeros(self._used, np.bool_)
        for chunk_ids in living:
            uses_chunk[chunk_ids[chunk_ids >= 0]] = True
        uses_slot = np.zeros(slots, np.bool_)
        _mark(self._chunks.values, uses_chunk, uses_slot)
        self._free = np.flatnonzero(~uses_chunk).astype(np.int32)
        return uses_slot

    def _take(self, count: int) -> NDArray[np.int32]:
        end = self._used + max(0, count - len(self._free))
        if end > len(self._chunks.values):
            raise MemoryError(
                f"the maps held together need more than {len(self._chunks.values)} chunks: hold "
                "fewer versions"
            )
        reused, self._free = self._free[:count], self._free[count:]
        fresh, self._used = np.arange(self._used, end, dtype=np.int32), end
        return np.concatenate([reused, fresh])


@njit(cache=True, nogil=True)
def _find(
    cells: NDArray[np.int64],
    chunk_ids: ChunkIds,
    chunks: NDArray[np.int32],
    keys: Keys,
    slots: Ordinals,
) -> None:
    find_cells(cells, keys, slots)
    for i in range(len(slots)):
        ordinal = slots[i]
        place = ordinal >> CHUNK_BITS
        # A key that came later than this version may lie beyond its map.
        if ordinal < 0 or place >= len(chunk_ids) or chunk_ids[place] < 0:
            slots[i] = NOTHING
        else:
            slots[i] = chunks[chunk_ids[place], ordinal & (CHUNK - 1)]


@njit(cache=True)  # and holds the interpreter: to let go of it and wait for it again takes longer
def _find_few(
    cells: NDArray[np.int64],
    chunk_ids: ChunkIds,
    chunks: NDArray[np.int32],
    keys: Keys,
    slots: Ordinals,
) -> None:
    _find(cells, chunk_ids, chunks, keys, slots)


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
