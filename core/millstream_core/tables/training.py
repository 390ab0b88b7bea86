"""The table that a worker trains: rows by key, their index, and what a version takes of them.

Which rows changed since the last commit is `written`'s to say. Rows that are evicted leave at
once, and their slots are given to other keys; what is left of them for the next versions is in
`departed`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_core.tables.arena import Arena
from millstream_core.tables.defaults import draw_rows, fill_rows
from millstream_core.tables.departed import Departed
from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined
from millstream_core.tables.slots import Distinct, SlotIndex, Slots
from millstream_core.tables.snapshots import Rows, TableSnapshot, digested, served_columns
from millstream_core.tables.written import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from millstream_core.tables.digest import Hashes
    from millstream_core.tables.index import Keys
    from millstream_core.tables.snapshots import ColumnSpec, SealedTable


class TrainingTable:
    """The table of one worker; one thread writes."""

    def __init__(
        self, columns: Mapping[str, ColumnSpec], *, seed: int, max_rows: int = 1 << 26
    ) -> None:
        """Start empty.

        Args:
            columns: by name.
            seed: of the values of new rows.
            max_rows: bound on the rows at one time; only address space is set aside for them.
        """
        self.columns = dict(columns)
        self.seed = seed
        self.digest = EMPTY_STATE  # of the serve columns as last committed
        self._index = SlotIndex(max_rows)
        self._departed = Departed(max_rows)
        self._values = {
            name: Arena(np.dtype(spec.dtype), spec.width, max_rows)
            for name, spec in columns.items()
        }
        self._hashes = Arena(np.dtype(np.uint64), 2, max_rows)  # zeros: not committed
        self._written = Written(max_rows)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def bytes(self) -> int:
        """Memory of rows, of what is kept beside them, and of the index."""
        row = sum(int(arena.values[0].nbytes) for arena in (*self._values.values(), self._hashes))
        end = self._index.end
        beside = self._written.bytes(end) + self._index.bytes + self._departed.bytes
        return end * row + beside

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, width], indexed by slot; writers call `touch`."""
        return self._values[column].values

    def slots(self, keys: Keys) -> Slots:
        """Where the rows of these keys are, int32[n]; -1 where there is none."""
        return self._index.lookup(keys)

    def distinct(self, keys: Keys) -> Distinct:
        """Each of these keys once, and where its row is."""
        return self._index.distinct(keys)

    def all_slots(self) -> Slots:
        """Where there are rows, int32[len], ascending."""
        return self._index.slots()

    def keys_at(self, slots: Slots) -> Keys:
        """Whose rows these are, int64[n]."""
        return self._index.keys_at(slots)

    def admit(self, keys: Keys) -> Slots:
        """Where the rows of these keys are, int32[n]; missing ones are made and initialised.

        Raises:
            MemoryError: more rows than the table was made for; nothing has changed.
        """
        slots, new = self._index.insert(keys)
        if len(new):
            self._begin(slots[new], keys[new])
        return slots

    def touch(self, slots: Slots) -> None:
        """Note that these rows were written; negative slots have none."""
        self._written.note(slots)

    def evict(self, slots: Slots) -> None:
        """Forget these rows: their keys are unknown from now on."""
        keys, hashes = self._index.keys_at(slots), np.take(self._hashes.values, slots, axis=0)
        if self._written.committed == self._written.period - 1:
            # No version is on its way, so one that was never committed leaves nothing behind.
            is_held = hashes.any(axis=1)
            self._departed.add(keys[is_held], hashes[is_held])
        else:
            self._departed.add(keys, hashes)
        self._index.remove(keys)

    def erase(self, is_erased: Callable[[Keys], NDArray[np.bool_]]) -> int:
        """Forget keys without a trace: no tombstone, and a state digest that never had them.

        To be asked only while no version is on its way. Readers leave the keys out by themselves,
        from the version on that says so.

        Args:
            is_erased: which of some keys, bool[n].

        Returns:
            How many rows went.
        """
        slots = self._index.slots()
        slots = slots[is_erased(self._index.keys_at(slots))]
        hashes = np.take(self._hashes.values, slots, axis=0)
        self._index.remove(self._index.keys_at(slots))
        left = self._departed.erase(is_erased)
        if any(spec.serve is not None for spec in self.columns.values()):
            self.digest = combined(self.digest, NO_HASHES, np.concatenate([hashes, left]))
        return len(slots)

    def snapshot(self, *, whole: bool) -> TableSnapshot:
        """Copy what the next version holds of this table.

        To be asked only while no version is on its way.

        Args:
            whole: all rows, for a base; else those written since the last commit.
        """
        written = self._written.slots()
        written = written[self._index.are_in_use(written)]
        slots = self._index.slots() if whole else written
        keys = self._index.keys_at(slots)
        order = np.argsort(keys)
        slots, keys = slots[order], keys[order]
        # np.take, because indexing by an array takes half as long again.
        columns = {
            name: np.take(arena.values, slots, axis=0) for name, arena in self._values.items()
        }
        gone, hashes_gone = self._departed.committed()
        return TableSnapshot(
            specs=self.columns,
            seed=self.seed,
            period=self._written.turn(),
            rows=Rows(keys, columns, gone),
            total=len(self),
            touched=len(written),
            hashes_before=np.take(self._hashes.values, slots, axis=0),
            hashes_gone=hashes_gone,
            digest_before=self.digest,
        )

    def committed(self, sealed: SealedTable) -> None:
        """A version with this snapshot exists now: its rows no longer count as written."""
        rows = sealed.snapshot.rows
        self._settle(rows.keys, sealed.hashes)
        self._settle(rows.gone, np.zeros((len(rows.gone), 2), np.uint64))
        self.digest = sealed.digest_after
        self._written.commit(sealed.snapshot.period)

    def restore(self, rows: Rows) -> None:
        """Put in rows of a committed version, oldest version first, before training starts."""
        left = self._index.remove(rows.gone)
        slots, new = self._index.insert(rows.keys)
        before = np.take(self._hashes.values, left[left >= 0], axis=0)
        self._hashes.values[slots[new]] = 0
        for name, arena in self._values.items():
            arena.values[slots] = rows.columns[name]
        served = served_columns(self.columns, rows.columns)
        hashes, self.digest = digested(
            self.digest, rows.keys, served, self._hashes.values[slots], before
        )
        self._hashes.values[slots] = hashes

    def _begin(self, slots: Slots, keys: Keys) -> None:
        """Make new rows; nothing of the slots' former rows stays."""
        for name, spec in self.columns.items():
            values = self._values[name].values
            if spec.uniform:
                draw_rows(values, slots, keys, np.uint64(self.seed), np.float32(spec.uniform))
            else:
                fill_rows(values, slots, spec.fill)
        fill_rows(self._hashes.values, slots, 0)
        places, hashes = self._departed.take_back(keys)
        self._hashes.values[slots[places]] = hashes
        self._written.note(slots)

    def _settle(self, keys: Keys, hashes: Hashes) -> None:
        """Note what the version that is committed now holds of keys, wherever they are by now."""
        slots = self._index.lookup(keys)
        has_row = slots >= 0
        self._hashes.values[slots[has_row]] = hashes[has_row]
        self._departed.settle(keys[~has_row], hashes[~has_row])
