"""Rules of a table against a simulation that forgets nothing and looks at everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_core.tables.lifecycle import SWEEP_STEPS, Lifecycle
from millstream_core.tables.snapshots import seal
from millstream_core.tables.usage import ONE
from tests.builders.tables import T0, keys_of, make_life, sweep, train

HALF_LIFE = 1  # second, so that the simulation is exact


class Step(NamedTuple):
    gap: int  # steps since the one before
    pause: int  # seconds of event time since the one before
    keys: list[int]
    small: set[int]  # whose rows it leaves next to nothing
    dies: bool  # a version is taken and a new process goes on from it


class Rules(NamedTuple):
    threshold: int | None
    ttl: int | None
    capacity: int | None
    ages: bool
    has_l2: bool

    def admission(self) -> dict:
        return {"counter": {"threshold": self.threshold}} if self.threshold else {}

    def eviction(self) -> dict:
        lfu = {"capacity": self.capacity} | ({"halfLifeSeconds": HALF_LIFE} if self.ages else {})
        return (
            ({"ttl": {"seconds": self.ttl}} if self.ttl else {})
            | ({"lfu": lfu} if self.capacity else {})
            | ({"l2": {"threshold": 0.1}} if self.has_l2 else {})
        )


@dataclass
class Simulated:
    """One row, or one key that waits."""

    count: Fraction = Fraction(0)
    time: int = 0
    is_small: bool = False


@dataclass
class Simulation:
    rules: Rules
    rows: dict[int, Simulated] = field(default_factory=dict)
    waiting: dict[int, Simulated] = field(default_factory=dict)

    def train(self, step: Step, now: int) -> None:
        for key in sorted(set(step.keys)):
            times = step.keys.count(key)
            if key not in self.rows and self.rules.threshold:
                self._note(self.waiting.setdefault(key, Simulated()), times, now, ages=False)
                if self.waiting[key].count < self.rules.threshold:
                    continue
                del self.waiting[key]
            row = self.rows.setdefault(key, Simulated())
            self._note(row, times, now, ages=self.rules.ages and self.rules.capacity is not None)
            row.is_small = key in step.small

    def _note(self, entry: Simulated, times: int, now: int, *, ages: bool) -> None:
        halvings = (now - entry.time) // HALF_LIFE if ages else 0
        kept = entry.count / 2 ** min(halvings, 64)
        entry.count, entry.time = Fraction(round((kept + times) * ONE), ONE), now

    def sweep(self, number: int, now: int) -> None:
        rules = self.rules
        is_above = rules.capacity is not None and len(self.rows) > rules.capacity
        if number % SWEEP_STEPS and not is_above:
            return
        for entries in (self.rows, self.waiting):
            for key in [key for key, entry in entries.items() if self._is_stale(entry, now)]:
                del entries[key]
        for key in [key for key, row in self.rows.items() if rules.has_l2 and row.is_small]:
            del self.rows[key]
        if rules.capacity is not None:
            while len(self.rows) > rules.capacity:
                del self.rows[min(self.rows, key=lambda key: (self._rank(self.rows[key]), key))]

    def _is_stale(self, entry: Simulated, now: int) -> bool:
        return self.rules.ttl is not None and now - entry.time > self.rules.ttl

    def _rank(self, row: Simulated) -> Fraction:
        age = Fraction(2) ** (row.time - int(T0)) if self.rules.ages else 1
        return max(row.count, Fraction(1, ONE)) * age


class Published:
    """Versions of a table and of what waits, as a chain of a base and deltas."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._versions: list[dict] = []

    def restarted(self, life: Lifecycle, now: float) -> Lifecycle:
        """A version of this state, and what a new process makes of the chain."""
        held = {"table": life.table, **life.admission.memory}
        self._versions.append({})
        for name, memory in held.items():
            sealed = seal(memory.snapshot(whole=False))
            memory.committed(sealed)
            self._versions[-1][name] = sealed.snapshot.rows
        successor = make_life(self._rules.admission(), self._rules.eviction())
        for version in self._versions:
            successor.table.restore(version["table"])
            for name, memory in successor.admission.memory.items():
                memory.restore(version[name])
        successor.admission.resume(now)
        assert successor.table.digest == life.table.digest
        return successor


STEPS = st.builds(
    Step,
    st.sampled_from([1, 1, 16, SWEEP_STEPS]),
    st.integers(0, 4),
    st.lists(st.integers(0, 12), max_size=8),
    st.sets(st.integers(0, 12), max_size=3),
    st.booleans(),
)
RULES = st.builds(
    Rules,
    st.none() | st.integers(1, 4),
    st.none() | st.integers(1, 8),
    st.none() | st.integers(1, 6),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None, max_examples=120)
@given(RULES, st.lists(STEPS, min_size=1, max_size=20))
def test_rows_are_those_of_the_simulation(rules: Rules, steps: list[Step]) -> None:
    """R4 and R9: also where the process is killed after any step and another goes on."""
    simulation, published = Simulation(rules), Published(rules)
    life = make_life(rules.admission(), rules.eviction())
    number, now = 0, int(T0)
    for step in steps:
        number, now = number + step.gap, now + step.pause
        simulation.train(step, now)
        known = np.array(train(life, step.keys, number, now), np.int64)
        is_small = np.isin(known, list(step.small))
        life.table.values("rows")[life.table.slots(known)] = np.where(is_small, 0, 1)[:, None]
        simulation.sweep(number, now)
        sweep(life, number, now)
        assert keys_of(life) == sorted(simulation.rows)
        if step.dies:
            life = published.restarted(life, now)
    if rules.capacity is not None:
        assert len(life.table) <= rules.capacity
    for name, memory in life.admission.memory.items():
        assert name == "waiting"
        assert sorted(memory.snapshot(whole=True).rows.keys) == sorted(simulation.waiting)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 5),
    st.none() | st.sampled_from([2.0, 1e6]),
    st.lists(
        st.tuples(st.lists(st.integers(-50, 50), max_size=20), st.integers(0, 100), st.booleans()),
        max_size=10,
    ),
)
def test_a_sketch_is_never_late(
    threshold: int, half_life: float | None, steps: list[tuple[list[int], int, bool]]
) -> None:
    """R2: what a sketch of any size has seen often enough has a row, restored or not."""
    admission = {"countMin": {"threshold": threshold, "width": 64, "depth": 2}}
    if half_life is not None:
        admission["countMin"]["halfLifeSeconds"] = half_life
    life, counts, now = make_life(admission), dict[int, float](), T0
    for number, (keys, pause, dies) in enumerate(steps):
        fade = 2.0 ** (-pause / half_life) if half_life else 1.0
        now += pause
        counts = {key: count * fade for key, count in counts.items()}
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
        known = train(life, keys, number, now)
        late = {key for key in keys if counts[key] >= threshold} - set(known)
        assert not late
        if dies:
            successor = make_life(admission)
            successor.table.restore(life.table.snapshot(whole=True).rows)
            for name, memory in life.admission.memory.items():
                successor.admission.memory[name].restore(memory.snapshot(whole=True).rows)
            successor.admission.resume(now)
            life = successor
