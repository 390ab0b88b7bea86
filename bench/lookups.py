"""Ids to slots in a table that grows, counts and forgets, against dictionaries that do the same.

A step of training asks for the slots of a batch, gives unknown keys one, counts what was used and
makes room where there are more keys than the capacity. All sides do all of it.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

import numba
import numpy as np
from numba import njit
from numba.core import types

from bench.measuring import RUNS, in_turns, seconds, times_faster
from millstream_api.tables import AdmissionSpec, EvictionSpec, LfuEviction
from millstream_core.tables.lifecycle import Lifecycle
from millstream_core.tables.snapshots import ColumnSpec
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.usage import USAGE, USAGE_COLUMN, Moment, Uses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numba.typed import Dict
    from numpy.typing import NDArray

    from demo.report import Row

BATCH: Final = 50_000
BATCHES: Final = 48  # in a round: about as many as it takes until room has to be made
EXPONENT: Final = 1.05
WARM_UP: Final = 2  # rounds, until rows come and go
INSERTS: Final = 100_000  # keys in one batch of new ones
SPREAD: Final = 1.1  # keys that are asked for, as a multiple of the capacity


def lookup_rows(count: int) -> list[Row]:
    """Steps on tables of `count` keys, and filling them."""
    draw = np.random.default_rng(0)
    keys = draw.permutation(np.arange(int(count * SPREAD), dtype=np.int64) * 7919)
    shares = np.cumsum(np.arange(1.0, len(keys) + 1) ** -EXPONENT)

    def batches() -> list[NDArray[np.int64]]:
        drawn = draw.random((BATCHES, BATCH)) * shares[-1]
        return list(keys[np.minimum(np.searchsorted(shares, drawn), len(keys) - 1)])

    for side in (_Ours(count), _Plain(count), _Typed(count)):  # compiles
        side.fill(keys)
        side.steps(batches())
    filled = in_turns(
        lambda: seconds(lambda: _Ours(count).fill(keys[:count])),
        lambda: seconds(lambda: _Plain(count).fill(keys[:count])),
        runs=3,
    )
    ours, plain, typed = _Ours(count), _Plain(count), _Typed(count)
    for side in (ours, plain, typed):
        side.fill(keys[:count])
    for _ in range(WARM_UP):
        drawn = batches()
        for side in (ours, plain, typed):
            side.steps(drawn)
    of = f"{count:.0e} rows".replace("e+0", "e")
    rows = []
    for against, peer, bar in (("Python dict", plain, 10), ("numba typed.Dict", typed, 4)):
        rounds = [batches() for _ in range(RUNS)]  # the same for both, and new to both
        turns = in_turns(_each(ours, rounds), _each(peer, rounds))
        speed = BATCHES * BATCH / median(turns.ours) / 1e6
        what = f"look-ups of Zipf batches, counted, in {of}"
        rows.append(times_faster(what, turns, bar, against, speed, "million/s"))
    speed = count / median(filled.ours) / 1e6
    rows.append(times_faster(f"inserts up to {of}", filled, 5, "Python dict", speed, "million/s"))
    return rows


def _each(
    side: _Ours | _Plain | _Typed, rounds: list[list[NDArray[np.int64]]]
) -> Callable[[], float]:
    """Takes the next round, and tells how long that took."""
    ahead = iter(rounds)

    def take() -> float:
        batches = next(ahead)
        return seconds(lambda: side.steps(batches))

    return take


class _Ours:
    def __init__(self, capacity: int) -> None:
        specs = {"rows": ColumnSpec(dtype="float32", width=1), USAGE: USAGE_COLUMN}
        self.table = TrainingTable(specs, seed=0, max_rows=2 * capacity)
        eviction = EvictionSpec(lfu=LfuEviction(capacity=capacity))
        self.life = Lifecycle(self.table, AdmissionSpec(), eviction)
        self.number = 0

    def fill(self, keys: NDArray[np.int64]) -> None:
        for start in range(0, len(keys), INSERTS):
            self.table.admit(keys[start : start + INSERTS])

    def steps(self, batches: list[NDArray[np.int64]]) -> None:
        for batch in batches:
            self.number += 1
            moment = Moment(self.number, float(self.number))
            distinct = self.table.distinct(batch)
            uses = Uses.of(distinct, np.full(len(batch), moment.now))
            slots = self.life.admit(uses, moment)
            self.life.trained(slots, uses, moment)
            slots[distinct.index]
            self.life.sweep(moment)


class _Plain:
    """A dict, slots by insertion, counts beside it, the rarest out when there are too many."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.slots: dict[int, int] = {}
        self.free: list[int] = []
        self.counts = [0] * (2 * capacity)

    def fill(self, keys: NDArray[np.int64]) -> None:
        slots = self.slots
        for key in keys.tolist():
            slots[key] = len(slots)

    def steps(self, batches: list[NDArray[np.int64]]) -> None:
        slots, counts, free = self.slots, self.counts, self.free
        for batch in batches:
            found = []
            for key in batch.tolist():
                slot = slots.get(key)
                if slot is None:
                    slot = slots[key] = free.pop() if free else len(slots)
                    counts[slot] = 0
                counts[slot] += 1
                found.append(slot)
            np.array(found)
            if len(slots) > self.capacity:
                self._make_room()

    def _make_room(self) -> None:
        keys = np.fromiter(self.slots.keys(), np.int64, len(self.slots))
        slots = np.fromiter(self.slots.values(), np.int64, len(self.slots))
        surplus = len(keys) - self.capacity + self.capacity // 64
        frequency = np.array(self.counts, np.int64)[slots]
        for key in keys[np.argpartition(frequency, surplus)[:surplus]].tolist():
            self.free.append(self.slots.pop(key))


class _Typed:
    """The same with numba's dict, its loop compiled."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.slots = numba.typed.Dict.empty(types.int64, types.int64)
        self.counts = np.zeros(2 * capacity, np.int64)
        self.free = np.zeros(2 * capacity, np.int64)
        self.free_count = 0

    def fill(self, keys: NDArray[np.int64]) -> None:
        _fill_typed(self.slots, keys)

    def steps(self, batches: list[NDArray[np.int64]]) -> None:
        for batch in batches:
            found = np.empty(len(batch), np.int64)
            self.free_count = _step_typed(
                self.slots, self.counts, self.free, self.free_count, batch, found
            )
            if len(self.slots) > self.capacity:
                surplus = len(self.slots) - self.capacity + self.capacity // 64
                keys, slots = _entries_of(self.slots)
                rarest = np.argpartition(self.counts[slots], surplus)[:surplus]
                self.free_count = _remove_typed(
                    self.slots, keys[rarest], self.free, self.free_count
                )


@njit
def _fill_typed(slots: Dict, keys: NDArray[np.int64]) -> None:
    for key in keys:
        slots[key] = len(slots)


@njit
def _step_typed(
    slots: Dict,
    counts: NDArray[np.int64],
    free: NDArray[np.int64],
    free_count: int,
    batch: NDArray[np.int64],
    found: NDArray[np.int64],
) -> int:
    for i in range(len(batch)):
        before = len(slots)
        offered = free[free_count - 1] if free_count > 0 else before
        slot = slots.setdefault(batch[i], offered)
        if len(slots) > before:
            counts[slot] = 0
            free_count = max(free_count - 1, 0)
        counts[slot] += 1
        found[i] = slot
    return free_count


@njit
def _entries_of(slots: Dict) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    keys, values = np.empty(len(slots), np.int64), np.empty(len(slots), np.int64)
    for i, (key, slot) in enumerate(slots.items()):
        keys[i], values[i] = key, slot
    return keys, values


@njit
def _remove_typed(
    slots: Dict, keys: NDArray[np.int64], free: NDArray[np.int64], free_count: int
) -> int:
    for key in keys:
        free[free_count] = slots.pop(key)
        free_count += 1
    return free_count
