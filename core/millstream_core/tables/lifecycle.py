"""The life of one table's rows: who gets one, how its use is noted, and who loses it.

    look-ups of a step ──► admit ──► optimizer ──► trained ──► sweep, every SWEEP_STEPS steps
                             │                                   │
                             └─ waits, counted                   ├─ tombstones of the next delta
                                                                 └─ placement: memory or disk

Sweeps go by the number of the step, not by versions or clocks: so the state follows from the
stream alone, and a replay after a crash arrives at the same rows whenever versions were taken.
Between two sweeps only a table above its capacity is swept, so that it never is after a step.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_core.tables.admission import admission_of
from millstream_core.tables.eviction import condemned
from millstream_core.tables.placement import exchanges
from millstream_core.tables.usage import USAGE, note_uses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from millstream_api.tables import AdmissionSpec, EvictionSpec
    from millstream_core.tables.index import Keys
    from millstream_core.tables.slots import Slots
    from millstream_core.tables.training import TrainingTable
    from millstream_core.tables.usage import Moment, Uses

# To look through a million rows takes about as long as one step, which then is a hundredth.
SWEEP_STEPS: Final = 64


@dataclass
class Changes:
    """What has become of rows and of those that wanted one."""

    admitted: int = 0  # rows
    turned_away: int = 0  # occurrences of keys that have to wait
    evicted: Counter[str] = field(default_factory=Counter)  # rows by rule
    read: Counter[str] = field(default_factory=Counter)  # rows that steps found, by tier
    moved: int = 0  # rows that came from disk into memory


class Lifecycle:
    """Applies the rules of one table; one thread uses it."""

    def __init__(
        self, table: TrainingTable, admission: AdmissionSpec, eviction: EvictionSpec
    ) -> None:
        """Start to apply them.

        Args:
            table: has a column `usage`.
            admission: who gets a row.
            eviction: who loses it.
        """
        self.table = table
        self.admission = admission_of(admission, table.seed, eviction.ttl)
        self._eviction = eviction
        self._half_life = eviction.lfu.half_life_seconds if eviction.lfu else None
        self._capacity = eviction.lfu.capacity if eviction.lfu else None
        self._swept_at = 0  # the first sweep of a process looks at all rows
        self._placed_at = 0  # likewise
        self._changes = Changes()

    @property
    def bytes(self) -> int:
        """Memory of the table and of what is remembered of keys that wait."""
        return self.table.bytes + sum(memory.bytes for memory in self.admission.memory.values())

    def take_changes(self) -> Changes:
        """What has happened since this was asked last."""
        changes, self._changes = self._changes, Changes()
        return changes

    def admit(self, uses: Uses, moment: Moment) -> Slots:
        """Where the rows of these keys are, int32[n]; -1 where a key has to wait for one."""
        slots = uses.slots.copy()
        self._count_tiers(slots)
        unknown = np.flatnonzero(slots < 0)
        if len(unknown):
            asking = uses.at(unknown)
            is_admitted = self.admission.admits(asking, moment)
            slots[unknown[is_admitted]] = self.table.admit(asking.keys[is_admitted])
            self._changes.admitted += int(np.count_nonzero(is_admitted))
            self._changes.turned_away += int(asking.counts[~is_admitted].sum())
        return slots

    def trained(self, slots: Slots, uses: Uses, moment: Moment) -> None:
        """Note that the optimizer wrote the rows of these keys; negative slots have none."""
        note_uses(self.table.values(USAGE), slots, uses, moment.step, self._half_life)
        self.table.touch(slots)

    def erase(self, is_erased: Callable[[Keys], NDArray[np.bool_]]) -> int:
        """Forget the keys of which this is true, with or without a row; returns how many had one.

        To be asked only while no version is on its way; see TrainingTable.
        """
        self.admission.erase(is_erased)
        return self.table.erase(is_erased)

    def sweep(self, moment: Moment) -> None:
        """Evict and place rows after this step, if it is time."""
        is_above = self._capacity is not None and len(self.table) > self._capacity
        is_due = moment.step % SWEEP_STEPS == 0
        if is_above or is_due:
            self._evict(moment)
        if is_due and self.table.disk_bytes:
            self._place(moment)

    def _evict(self, moment: Moment) -> None:
        for rule, slots in condemned(
            self.table, self._eviction, moment.now, since_step=self._swept_at
        ).items():
            self.table.evict(slots)
            self._changes.evicted[rule] += len(slots)
        self.admission.sweep(moment)
        self._swept_at = moment.step

    def _place(self, moment: Moment) -> None:
        in_memory, on_disk = exchanges(self.table, since_step=self._placed_at)
        self.table.exchange(in_memory, on_disk)
        self._changes.moved += len(on_disk)
        self._placed_at = moment.step

    def _count_tiers(self, slots: Slots) -> None:
        if self.table.disk_bytes:
            on_disk = int(np.count_nonzero(slots >= self.table.memory_rows))
            self._changes.read["disk"] += on_disk
            self._changes.read["memory"] += int(np.count_nonzero(slots >= 0)) - on_disk
