"""The table that a worker trains: rows by key, their index, and what a version takes of them.

Which rows changed since the last commit is `written`'s to say. Rows that are evicted leave at
once, and their slots are given to other keys; what is left of them for the next versions is in
`departed`. With a memory budget the rows of higher slots are on disk; `placement` says which rows
should change places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.tables.defaults import draw_rows, fill_rows
from millstream_core.tables.departed import Departed
from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined
from millstream_core.tables.hashing import buckets_of
from millstream_core.tables.slots import Distinct, SlotIndex, Slots
from millstream_core.tables.snapshots import Rows, TableSnapshot, digested, served_columns
from millstream_core.tables.storage import Storage
from millstream_core.tables.usage import USAGE
from millstream_core.tables.written import Written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from millstream_core.tables.digest import Hashes
    from millstream_core.tables.index import Keys
    from millstream_core.tables.overflow import Overflow
    from millstream_core.tables.snapshots import ColumnSpec, SealedTable

_HASHES: Final = "#hashes"  # of rows as last committed, uint64[n, 2]; zeros: not committed


class TrainingTable:
    """The table of one worker; one thread writes."""

    def __init__(
        self,
        columns: Mapping[str, ColumnSpec],
        *,
        seed: int,
        max_rows: int = 1 << 26,
        overflow: Overflow | None = None,
    ) -> None:
        """Start empty.

        Args:
            columns: by name.
            seed: of the values of new rows.
            max_rows: bound on the rows at one time; only address space is set aside for them.
            overflow: how much memory the rows may take; None: as much as there is.

        Raises:
            ValueError: the overflow cannot be used.
        """
        self.columns = dict(columns)
        self.seed = seed
        self.digest = EMPTY_STATE  # of the serve columns as last committed
        self._index = SlotIndex(max_rows)
        self._departed = Departed(max_rows)
        forms = {name: (np.dtype(spec.dtype), spec.width) for name, spec in columns.items()}
        forms[_HASHES] = (np.dtype(np.uint64), 2)
        # Sweeps and placement read the account of every row.
        self._rows = Storage(forms, max_rows, overflow, in_memory=(USAGE,))
        self._hashes: Hashes = self._rows.values(_HASHES)
        self._written = Written(max_rows)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def memory_rows(self) -> int:
        """The rows of slots below this one are in memory, the others on disk."""
        return self._rows.memory_rows

    @property
    def bytes(self) -> int:
        """Memory of rows, of what is kept beside them, and of the index."""
        end = self._index.end
        beside = self._written.bytes(end) + self._index.bytes + self._departed.bytes
        return self._rows.memory_bytes(end) + beside

    @property
    def disk_rows(self) -> int:
        """Rows beyond the memory budget."""
        if self._index.end <= self.memory_rows:
            return 0
        in_memory = self.memory_rows - len(self.free_slots(self.memory_rows))
        return len(self) - in_memory

    @property
    def disk_bytes(self) -> int:
        """Disk of rows beyond the memory budget."""
        return self._rows.disk_bytes(self._index.end)

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, width], indexed by slot; writers call `touch`."""
        return self._rows.values(column)

    def slots(self, keys: Keys) -> Slots:
        """Where the rows of these keys are, int32[n]; -1 where there is none."""
        return self._index.lookup(keys)

    def distinct(self, keys: Keys) -> Distinct:
        """Each of these keys once, and where its row is."""
        return self._index.distinct(keys)

    def all_slots(self) -> Slots:
        """Where there are rows, int32[len], ascending."""
        return self._index.slots()

    def free_slots(self, below: int) -> Slots:
        """Slots below this one that evicted rows have left, ascending, int32[n]."""
        return self._index.free_slots(below)

    def keys_at(self, slots: Slots) -> Keys:
        """Whose rows these are, int64[n]."""
        return self._index.keys_at(slots)

    def admit(self, keys: Keys) -> Slots:
        """Where the rows of these keys are, int32[n]; missing ones are made and initialised.

        Raises:
            MemoryError: more rows than the table was made for, or than there is disk for; nothing
                has changed.
        """
        self._rows.reserve(self._index.end_with(len(keys)))
        end = self._index.end
        slots, new = self._index.insert(keys)
        if len(new):
            self._begin(slots[new], keys[new], end)
        return slots

    def touch(self, slots: Slots) -> None:
        """Note that these rows were written; negative slots have none."""
        self._written.note(slots)

    def evict(self, slots: Slots) -> None:
        """Forget these rows: their keys are unknown from now on."""
        keys, hashes = self._index.keys_at(slots), np.take(self._hashes, slots, axis=0)
        if self._written.committed == self._written.period - 1:
            # No version is on its way, so one that was never committed leaves nothing behind.
            is_held = hashes.any(axis=1)
            self._departed.add(keys[is_held], hashes[is_held])
        else:
            self._departed.add(keys, hashes)
        self._index.remove(keys)

    def exchange(self, left: Slots, right: Slots) -> None:
        """Let rows change places, pair by pair; see `placement.exchanges`."""
        self._rows.exchange(left, right)
        self._index.exchange(left, right)
        self._written.exchange(left, right)

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
        hashes = np.take(self._hashes, slots, axis=0)
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
        if not self._rows.fits(len(slots)):
            # Copied to disk, from where a shard's rows are read together.
            keys = self._index.keys_at(slots)
            slots = slots[np.argsort(buckets_of(keys), kind="stable")]
        keys = self._index.keys_at(slots)
        columns = self._rows.take(slots)
        hashes_before = columns.pop(_HASHES)
        gone, hashes_gone = self._departed.committed()
        return TableSnapshot(
            specs=self.columns,
            seed=self.seed,
            period=self._written.turn(),
            rows=Rows(keys, columns, gone),
            room=self._rows.room,
            total=len(self),
            touched=len(written),
            hashes_before=hashes_before,
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
        self._rows.reserve(self._index.end_with(len(rows.keys)))
        slots, new = self._index.insert(rows.keys)
        before = np.take(self._hashes, left[left >= 0], axis=0)
        self._hashes[slots[new]] = 0
        # Into a table without holes rows go as they lie: a third of the time that scattering takes.
        is_dense = len(slots) > 0 and np.array_equal(
            slots, np.arange(slots[0], slots[0] + len(slots))
        )
        where = slice(slots[0], slots[0] + len(slots)) if is_dense else slots
        for name in self.columns:
            self._rows.values(name)[where] = rows.columns[name]
        served = served_columns(self.columns, rows.columns, self._rows.room)
        hashes, self.digest = digested(self.digest, rows.keys, served, self._hashes[slots], before)
        self._hashes[slots] = hashes

    def _begin(self, slots: Slots, keys: Keys, end: int) -> None:
        """Make new rows; nothing of the slots' former rows stays."""
        # Storage begins as zeros, and slots from `end` on had no row yet.
        used = slots[slots < end]
        for name, spec in self.columns.items():
            values = self._rows.values(name)
            if spec.uniform:
                draw_rows(values, slots, keys, np.uint64(self.seed), np.float32(spec.uniform))
            else:
                fill_rows(values, slots if spec.fill else used, spec.fill)
        fill_rows(self._hashes, used, 0)
        places, hashes = self._departed.take_back(keys)
        self._hashes[slots[places]] = hashes
        self._written.note(slots)

    def _settle(self, keys: Keys, hashes: Hashes) -> None:
        """Note what the version that is committed now holds of keys, wherever they are by now."""
        slots = self._index.lookup(keys)
        has_row = slots >= 0
        self._hashes[slots[has_row]] = hashes[has_row]
        self._departed.settle(keys[~has_row], hashes[~has_row])
