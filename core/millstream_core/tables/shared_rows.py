"""The rows of all versions of a served table: written once, read by whoever finds their slot.

Work on many rows is done in kernels without the GIL, because requests are answered meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from millstream_core.tables.arena import Arena
from millstream_core.tables.digest import row_hashes
from millstream_core.tables.encoding import stored_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Column
    from millstream_core.tables.digest import Hashes
    from millstream_core.tables.index import Keys, Ordinals


class SharedRows:
    """Rows by slot; one thread writes, any thread reads slots that it was given."""

    def __init__(self, columns: Mapping[str, Column], max_rows: int) -> None:
        """Hold no row.

        Args:
            columns: the serve columns by name.
            max_rows: bound on rows; only address space is set aside for them.
        """
        self._arenas = {
            name: Arena(*stored_form(column.dtype, column.width), max_rows)
            for name, column in columns.items()
        }
        self._max_rows = max_rows
        self._free, self.used = np.empty(0, np.int32), 0  # slots to take again; all are below

    @property
    def bytes(self) -> int:
        """Memory of rows in use, and of slots that were and can be taken again."""
        return self.used * sum(int(arena.values[0].nbytes) for arena in self._arenas.values())

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, stored width], by slot."""
        return self._arenas[column].values

    def place(self, old: Ordinals, columns: Mapping[str, NDArray[Any]]) -> Ordinals:
        """Slots for these rows: the old one where the row is the same, else a new one, written.

        Args:
            old: int32[n], slots with which to compare; -1 where there is none.
            columns: name -> [n, stored width].

        Raises:
            MemoryError: more rows than there is room for.
        """
        is_same = old >= 0
        for name, given in columns.items():
            _compare(_as_bytes(self.values(name)), _as_bytes(given), old, is_same)
        new = np.flatnonzero(~is_same)
        slots = old.copy()
        slots[new] = self._take(len(new))
        for name, given in columns.items():
            _write(_as_bytes(self.values(name)), _as_bytes(given), slots, new)
        return slots

    def hashes(self, keys: Keys, slots: Ordinals) -> Hashes:
        """Hashes of the rows in these slots, uint64[n, 2], see `digest`."""
        rows = {name: np.take(arena.values, slots, axis=0) for name, arena in self._arenas.items()}
        return row_hashes(keys, rows)

    def free_all_but(self, uses_slot: NDArray[np.bool_]) -> int:
        """Have other slots taken again, bool[used]; returns how many those are."""
        self._free = np.flatnonzero(~uses_slot).astype(np.int32)
        return len(self._free)

    def _take(self, count: int) -> Ordinals:
        end = self.used + max(0, count - len(self._free))
        if end > self._max_rows:
            raise MemoryError(
                f"the versions held together need more than {self._max_rows} rows: hold fewer"
            )
        reused, self._free = self._free[:count], self._free[count:]
        fresh, self.used = np.arange(self.used, end, dtype=np.int32), end
        return np.concatenate([reused, fresh])


def _as_bytes(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """Rows as they lie in memory, uint8[n, bytes of a row]: one kernel does for every type.

    And rows are the same where their bytes are: -0.0 and NaN must not count as what they are not.
    """
    return np.ascontiguousarray(rows).view(np.uint8)


@njit(cache=True, nogil=True)
def _compare(
    held: NDArray[np.uint8], given: NDArray[np.uint8], old: Ordinals, is_same: NDArray[np.bool_]
) -> None:
    """Unset `is_same` where a given row differs from the one in its old slot."""
    for i in range(len(given)):
        if is_same[i]:
            difference = np.uint8(0)  # looked at only at the end, so that the loop is vectorised
            for j in range(given.shape[1]):
                difference |= held[old[i], j] ^ given[i, j]
            is_same[i] = difference == 0


@njit(cache=True, nogil=True)
def _write(
    held: NDArray[np.uint8], given: NDArray[np.uint8], slots: Ordinals, places: NDArray[np.int64]
) -> None:
    """Put the given rows at these places into their slots."""
    for i in places:
        for j in range(given.shape[1]):
            held[slots[i], j] = given[i, j]
