"""Keys that left a training table and that the last committed version may still hold.

They become the tombstones of the next delta. A key stays here until a version without it is
committed, whatever fails meanwhile, or until it gets a row again, which then replaces the old one.
With each key is kept what its row adds to the state digest of the last committed version; zeros
mean that the version does not hold the key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_core.tables.arena import Arena
from millstream_core.tables.slots import SlotIndex

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from millstream_core.tables.digest import Hashes
    from millstream_core.tables.index import Keys


class Departed:
    """Keys without a row, each with the hash of its committed one."""

    def __init__(self, max_keys: int) -> None:
        self._index = SlotIndex(max_keys)
        self._hashes = Arena(np.dtype(np.uint64), 2, max_keys)

    @property
    def bytes(self) -> int:
        """Memory of all of it."""
        return self._index.bytes + self._index.end * int(self._hashes.values[0].nbytes)

    def add(self, keys: Keys, hashes: Hashes) -> None:
        """Remember keys that leave; int64[n] and uint64[n, 2]."""
        slots, _ = self._index.insert(keys)
        self._hashes.values[slots] = hashes

    def take_back(self, keys: Keys) -> tuple[NDArray[np.int64], Hashes]:
        """Forget keys that get a row again.

        Returns:
            (places in `keys` of those that were here, int64[m]; their hashes, uint64[m, 2]).
        """
        slots = self._index.remove(keys)
        places = np.flatnonzero(slots >= 0)
        return places, np.take(self._hashes.values, slots[places], axis=0)

    def erase(self, is_erased: Callable[[Keys], NDArray[np.bool_]]) -> Hashes:
        """Drop the keys of which this is true; their hashes, uint64[m, 2]."""
        slots = self._index.slots()
        slots = slots[is_erased(self._index.keys_at(slots))]
        hashes = np.take(self._hashes.values, slots, axis=0)
        self._index.remove(self._index.keys_at(slots))
        return hashes

    def settle(self, keys: Keys, hashes: Hashes) -> None:
        """Take over what a version that is committed now holds of those keys that are here."""
        slots = self._index.lookup(keys)
        self._hashes.values[slots[slots >= 0]] = hashes[slots >= 0]

    def committed(self) -> tuple[Keys, Hashes]:
        """All keys that the last committed version holds; the others are dropped.

        To be asked only while no version is on its way.
        """
        slots = self._index.slots()
        keys, hashes = self._index.keys_at(slots), self._hashes.values[slots]
        is_held = hashes.any(axis=1)
        self._index.remove(keys[~is_held])
        return keys[is_held], hashes[is_held]
