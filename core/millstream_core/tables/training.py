"""The table that a worker trains: rows by key, and which of them changed since the last commit.

What "changed" means must survive failed uploads, so it is never a set that somebody clears.
Each row carries the number of the snapshot period in which it was last written; a commit moves
`committed` forward, a failure moves nothing, and the next snapshot simply takes everything
written after `committed`:

    period   1 ──snapshot──► 2 ──snapshot──► 3 ──snapshot──► 4
    committed      (upload failed)     └── both periods' rows ──┘

Rows that are evicted leave at once, and their slots are given to other keys; what is left of them
for the next versions is in `departed`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_core.tables.arena import Arena
from millstream_core.tables.defaults import draw_rows
from millstream_core.tables.departed import Departed
from millstream_core.tables.digest import EMPTY_STATE, Hashes, combined, row_hashes
from millstream_core.tables.encoding import encode
from millstream_core.tables.slots import SlotIndex, Slots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Dtype
    from millstream_core.tables.index import Keys


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """One column of a training table and what a new row holds in it."""

    dtype: Dtype  # of live values, so never a quantised one
    width: int
    serve: Dtype | None = None  # how servers read it; None: they do not
    uniform: float = 0.0  # float32 only: new values are drawn from (-uniform, uniform)
    fill: int = 0  # integers only: new values


@dataclass(frozen=True)
class Rows:
    """Some rows of a table by value: what a version's files hold."""

    keys: Keys  # int64[n], ascending
    columns: dict[str, NDArray[Any]]  # name -> [n, width]
    gone: Keys = field(default_factory=lambda: np.empty(0, np.int64))  # have no row any more


@dataclass(frozen=True)
class TableSnapshot:
    """Copies of everything a version needs of a table; training goes on meanwhile."""

    specs: Mapping[str, ColumnSpec]
    seed: int
    period: int
    rows: Rows  # the written rows, or all of them for a base; and the keys that left
    total: int  # rows alive
    touched: int  # rows written since the last commit
    hashes_before: Hashes  # of `rows` as last committed; zeros where they were not
    hashes_gone: Hashes  # of `rows.gone` as last committed
    digest_before: str


@dataclass(frozen=True)
class SealedTable:
    """A snapshot with what servers read of it, and the state digest that follows from that.

    Making one costs more than copying did, so it is not done at the barrier.
    """

    snapshot: TableSnapshot
    served: dict[str, NDArray[Any]]  # name -> stored form, see `encoding`
    hashes: Hashes  # of the rows, over the served columns
    digest_after: str


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
        self._written = Arena(np.dtype(np.int32), 1, max_rows)
        self._period = 1
        self._committed = 0

    def __len__(self) -> int:
        return len(self._index)

    @property
    def bytes(self) -> int:
        """Memory of rows, of what is kept beside them, and of the index."""
        arenas = [*self._values.values(), self._hashes, self._written]
        row = sum(int(arena.values[0].nbytes) for arena in arenas)
        return self._index.end * row + self._index.bytes + self._departed.bytes

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, width], indexed by slot; writers call `touch`."""
        return self._values[column].values

    def slots(self, keys: Keys) -> Slots:
        """Where the rows of these keys are, int32[n]; -1 where there is none."""
        return self._index.lookup(keys)

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
        """Note that these rows were written."""
        self._written.values[slots] = self._period

    def evict(self, slots: Slots) -> None:
        """Forget these rows: their keys are unknown from now on."""
        keys, hashes = self._index.keys_at(slots), np.take(self._hashes.values, slots, axis=0)
        if self._committed == self._period - 1:
            # No version is on its way, so one that was never committed leaves nothing behind.
            is_held = hashes.any(axis=1)
            self._departed.add(keys[is_held], hashes[is_held])
        else:
            self._departed.add(keys, hashes)
        self._index.remove(keys)

    def snapshot(self, *, whole: bool) -> TableSnapshot:
        """Copy what the next version holds of this table.

        To be asked only while no version is on its way.

        Args:
            whole: all rows, for a base; else those written since the last commit.
        """
        slots = self._index.slots()
        is_written = np.take(self._written.values[:, 0], slots) > self._committed
        touched = int(np.count_nonzero(is_written))
        if not whole:
            slots = slots[is_written]
        keys = self._index.keys_at(slots)
        order = np.argsort(keys)
        slots, keys = slots[order], keys[order]
        # np.take, because indexing by an array takes half as long again.
        columns = {
            name: np.take(arena.values, slots, axis=0) for name, arena in self._values.items()
        }
        gone, hashes_gone = self._departed.committed()
        period, self._period = self._period, self._period + 1
        return TableSnapshot(
            specs=self.columns,
            seed=self.seed,
            period=period,
            rows=Rows(keys, columns, gone),
            total=len(self),
            touched=touched,
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
        self._committed = sealed.snapshot.period

    def restore(self, rows: Rows) -> None:
        """Put in rows of a committed version, oldest version first, before training starts."""
        left = self._index.remove(rows.gone)
        slots, new = self._index.insert(rows.keys)
        before = np.take(self._hashes.values, left[left >= 0], axis=0)
        self._hashes.values[slots[new]] = 0
        for name, arena in self._values.items():
            arena.values[slots] = rows.columns[name]
        served = served_columns(self.columns, rows.columns)
        hashes, self.digest = _digested(
            self.digest, rows.keys, served, self._hashes.values[slots], before
        )
        self._hashes.values[slots] = hashes

    def _begin(self, slots: Slots, keys: Keys) -> None:
        """Make new rows; nothing of the slots' former rows stays."""
        for name, spec in self.columns.items():
            values = self._values[name].values
            if spec.uniform:
                fresh = np.empty((len(keys), spec.width), np.float32)
                draw_rows(fresh, keys, np.uint64(self.seed), np.float32(spec.uniform))
                values[slots] = fresh
            else:
                values[slots] = spec.fill
        self._hashes.values[slots] = self._departed.take_back(keys)
        self._written.values[slots] = self._period

    def _settle(self, keys: Keys, hashes: Hashes) -> None:
        """Note what the version that is committed now holds of keys, wherever they are by now."""
        slots = self._index.lookup(keys)
        has_row = slots >= 0
        self._hashes.values[slots[has_row]] = hashes[has_row]
        self._departed.settle(keys[~has_row], hashes[~has_row])


def seal(snapshot: TableSnapshot) -> SealedTable:
    """Encode and hash what servers will read of a snapshot."""
    served = served_columns(snapshot.specs, snapshot.rows.columns)
    hashes, after = _digested(
        snapshot.digest_before,
        snapshot.rows.keys,
        served,
        snapshot.hashes_before,
        snapshot.hashes_gone,
    )
    return SealedTable(snapshot, served, hashes, after)


def served_columns(
    specs: Mapping[str, ColumnSpec], columns: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """What servers read of these rows, name -> stored form, [n, stored width]."""
    return {
        name: encode(columns[name], spec.serve)
        for name, spec in specs.items()
        if spec.serve is not None
    }


def _digested(
    digest: str, keys: Keys, served: dict[str, NDArray[Any]], before: Hashes, gone: Hashes
) -> tuple[Hashes, str]:
    """The hashes of these rows, and the state digest once they have replaced what was before."""
    if not served:
        # No server could compare it. The hashes only mark the rows as committed.
        return np.ones((len(keys), 2), np.uint64), digest
    hashes = row_hashes(keys, served)
    return hashes, combined(digest, hashes, np.concatenate([before, gone]))
