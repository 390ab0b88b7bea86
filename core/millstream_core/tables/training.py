"""The table that a worker trains: rows by key, and which of them changed since the last commit.

What "changed" means must survive failed uploads, so it is never a set that somebody clears.
Each row carries the number of the snapshot period in which it was last written; a commit moves
`committed` forward, a failure moves nothing, and the next snapshot simply takes everything
written after `committed`:

    period   1 ──snapshot──► 2 ──snapshot──► 3 ──snapshot──► 4
    committed      (upload failed)     └── both periods' rows ──┘
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_core.tables.arena import Arena
from millstream_core.tables.defaults import draw_rows
from millstream_core.tables.digest import EMPTY_STATE, Hashes, combined, row_hashes
from millstream_core.tables.encoding import encode
from millstream_core.tables.index import KeyIndex, Keys, Ordinals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Dtype


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """One column of a training table and what a new row holds in it."""

    dtype: Dtype  # of live values, so never a quantised one
    width: int
    serve: Dtype | None = None  # how servers read it; None: they do not
    uniform: float = 0.0  # float32 only: new values are drawn from (-uniform, uniform)
    fill: int = 0  # int64 only: new values


@dataclass(frozen=True)
class Rows:
    """Some rows of a table by value: what a version's files hold."""

    keys: Keys  # int64[n], ascending
    columns: dict[str, NDArray[Any]]  # name -> [n, width]


@dataclass(frozen=True)
class TableSnapshot:
    """Copies of everything a version needs of a table; training goes on meanwhile."""

    specs: Mapping[str, ColumnSpec]
    seed: int
    period: int
    slots: Ordinals
    rows: Rows  # the written rows, or all of them for a base
    total: int  # rows alive
    touched: int  # rows written since the last commit
    hashes_before: Hashes  # of `rows` as last committed; zeros where they were not
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
    """A growing table of one worker; one thread writes."""

    def __init__(
        self, columns: Mapping[str, ColumnSpec], *, seed: int, max_rows: int = 1 << 26
    ) -> None:
        """Start empty.

        Args:
            columns: by name.
            seed: of the values of new rows.
            max_rows: bound on the number of rows; only address space is set aside for them.
        """
        self.columns = dict(columns)
        self.seed = seed
        self.digest = EMPTY_STATE  # of the serve columns as last committed
        self._index = KeyIndex(max_rows)
        self._values = {
            name: Arena(np.dtype(spec.dtype), spec.width, max_rows)
            for name, spec in columns.items()
        }
        self._hashes = Arena(np.dtype(np.uint64), 2, max_rows)  # zeros: never committed
        self._written = Arena(np.dtype(np.int32), 1, max_rows)
        self._period = 1
        self._committed = 0

    def __len__(self) -> int:
        return len(self._index)

    def values(self, column: str) -> NDArray[Any]:
        """The storage of a column, [max_rows, width], indexed by slot; writers call `touch`."""
        return self._values[column].values

    def slots(self, keys: Keys) -> Ordinals:
        """Where the rows of these keys are, int32[n]; -1 where there is none."""
        return self._index.lookup(keys)

    def admit(self, keys: Keys) -> Ordinals:
        """Where the rows of these keys are, int32[n]; missing ones are made and initialised."""
        before = len(self._index)
        slots = self._index.insert(keys)
        new = self._index.keys()[before:]
        for name, spec in self.columns.items():
            fresh = self._values[name].values[before : before + len(new)]
            if spec.uniform:
                draw_rows(fresh, new, np.uint64(self.seed), np.float32(spec.uniform))
            elif spec.fill:
                fresh[:] = spec.fill
        self._written.values[before : before + len(new)] = self._period
        return slots

    def touch(self, slots: Ordinals) -> None:
        """Note that these rows were written."""
        self._written.values[slots] = self._period

    def snapshot(self, *, whole: bool) -> TableSnapshot:
        """Copy what the next version holds of this table.

        Args:
            whole: all rows, for a base; else those written since the last commit.
        """
        total = len(self._index)
        is_written = self._written.values[:total, 0] > self._committed
        slots = np.arange(total) if whole else np.nonzero(is_written)[0]
        keys = self._index.keys()[slots]
        order = np.argsort(keys, kind="stable")
        slots, keys = slots[order], keys[order]
        columns = {name: arena.values[slots] for name, arena in self._values.items()}
        period, self._period = self._period, self._period + 1
        return TableSnapshot(
            specs=self.columns,
            seed=self.seed,
            period=period,
            slots=slots.astype(np.int32),
            rows=Rows(keys, columns),
            total=total,
            touched=int(np.count_nonzero(is_written)),
            hashes_before=self._hashes.values[slots],
            digest_before=self.digest,
        )

    def committed(self, sealed: SealedTable) -> None:
        """A version with this snapshot exists now: its rows no longer count as written."""
        self._hashes.values[sealed.snapshot.slots] = sealed.hashes
        self.digest = sealed.digest_after
        self._committed = sealed.snapshot.period

    def restore(self, rows: Rows) -> None:
        """Put in rows of a committed version, oldest version first, before training starts."""
        slots = self._index.insert(rows.keys)
        for name, arena in self._values.items():
            arena.values[slots] = rows.columns[name]
        hashes = row_hashes(rows.keys, served_columns(self.columns, rows.columns))
        self.digest = combined(self.digest, hashes, self._hashes.values[slots])
        self._hashes.values[slots] = hashes


def seal(snapshot: TableSnapshot) -> SealedTable:
    """Encode and hash what servers will read of a snapshot."""
    served = served_columns(snapshot.specs, snapshot.rows.columns)
    hashes = row_hashes(snapshot.rows.keys, served)
    after = combined(snapshot.digest_before, hashes, snapshot.hashes_before)
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
