"""Training tables that keep account, and look-ups of a step, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from millstream_api.tables import AdmissionSpec, EvictionSpec
from millstream_core.tables.lifecycle import Lifecycle
from millstream_core.tables.overflow import Overflow
from millstream_core.tables.snapshots import ColumnSpec, Rows
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.usage import USAGE, USAGE_COLUMN, Moment, Uses

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

T0 = 1_700_000_000.0
COLUMNS = {
    "rows": ColumnSpec(dtype="float32", width=4, serve="float32", uniform=0.5),
    "accumulator": ColumnSpec(dtype="float32", width=1),
    USAGE: USAGE_COLUMN,
}
ROW_BYTES = 4 * 4 + 4 + 16  # of what can be on disk: values, accumulator, hash


def make_life(
    admission: Mapping[str, object] | None = None,
    eviction: Mapping[str, object] | None = None,
    *,
    max_rows: int = 1 << 16,
    overflow: Overflow | None = None,
    width: int = 4,
) -> Lifecycle:
    """A table with rules as a custom resource writes them, for example {"ttl": {"seconds": 5}}."""
    columns = COLUMNS | {"rows": replace(COLUMNS["rows"], width=width)}
    return Lifecycle(
        TrainingTable(columns, seed=7, max_rows=max_rows, overflow=overflow),
        AdmissionSpec.model_validate(admission or {}),
        EvictionSpec.model_validate(eviction or {}),
    )


def make_overflow(folder: Path, rows: int, limit: int = 1 << 30) -> Overflow:
    """So many rows of COLUMNS in memory."""
    return Overflow(folder, budget=rows * ROW_BYTES, limit=limit)


def train(life: Lifecycle, occurrences: Iterable[int], step: int, time: float = T0) -> list[int]:
    """One step on these keys, without a sweep; returns those that have a row after it."""
    mentions = np.array(list(occurrences), np.int64)
    uses = Uses.of(life.table.distinct(mentions), np.full(len(mentions), time))
    moment = Moment(step, time)
    slots = life.admit(uses, moment)
    life.table.values("accumulator")[slots[slots >= 0]] += 1
    life.trained(slots, uses, moment)
    return sorted(uses.keys[slots >= 0].tolist())


def sweep(life: Lifecycle, step: int, time: float = T0) -> None:
    """The end of a step at this time."""
    life.sweep(Moment(step, time))


def keys_of(life: Lifecycle) -> list[int]:
    """The keys that have a row, ascending."""
    return sorted(life.table.keys_at(life.table.all_slots()).tolist())


def by_key(rows: Rows) -> Rows:
    """The same rows and tombstones, keys ascending."""
    order = np.argsort(rows.keys)
    columns = {name: column[order] for name, column in rows.columns.items()}
    return Rows(rows.keys[order], columns, np.sort(rows.gone))
