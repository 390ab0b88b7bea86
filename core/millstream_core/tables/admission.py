"""Which keys get a row of a training table, as its AdmissionSpec says.

Decided once a step, for the keys that the step looks up and that have no row. What is remembered
of keys that wait is part of every version, so a trainer that was restored admits a key at the very
step at which one that was never stopped would have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numba import njit

from millstream_api.tables import EvictionSpec
from millstream_core.tables.eviction import condemned
from millstream_core.tables.hashing import GOLDEN, mix
from millstream_core.tables.sketch import Sketch
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.usage import FREQUENCY, ONE, USAGE, USAGE_COLUMN, note_uses

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from millstream_api.tables import (
        AdmissionSpec,
        CounterAdmission,
        CountMinAdmission,
        TtlEviction,
    )
    from millstream_core.tables.index import Keys
    from millstream_core.tables.snapshots import Rows, SealedTable, TableSnapshot
    from millstream_core.tables.usage import Moment, Uses

WAITING: Final = "waiting"  # the one memory that names keys: a sketch's cells are of no key
# Aged counts are sums of rounded numbers: 3 occurrences at once must not add up to 2.9999999.
_ROUNDING: Final = 1e-4


class Memory(Protocol):
    """State that is part of every version; see TrainingTable."""

    @property
    def bytes(self) -> int:
        """Memory of all of it."""

    def snapshot(self, *, whole: bool) -> TableSnapshot:
        """Copy what the next version holds."""

    def committed(self, sealed: SealedTable) -> None:
        """A version with this snapshot exists now."""

    def restore(self, rows: Rows) -> None:
        """Put in rows of a committed version, oldest version first."""


class Admission(Protocol):
    """Decides about keys without a row."""

    memory: dict[str, Memory]
    """What a version keeps of it, none or one; the name tells what the content fits."""

    def admits(self, uses: Uses, moment: Moment) -> NDArray[np.bool_]:
        """Which of these keys get a row now, bool[n]; the others have been counted."""

    def sweep(self, moment: Moment) -> None:
        """Forget keys that have waited for too long."""

    def erase(self, is_erased: Callable[[Keys], NDArray[np.bool_]]) -> None:
        """Forget the keys of which this is true, as far as any are remembered."""

    def resume(self, now: float) -> None:
        """Go on at this event time from the memory that was restored."""


def admission_of(spec: AdmissionSpec, seed: int, ttl: TtlEviction | None) -> Admission:
    """The way of admission that is asked for.

    Args:
        spec: names it.
        seed: makes chance and sketches repeatable.
        ttl: when rows go; keys that wait for one are not remembered for longer.
    """
    if spec.counter is not None:
        return _Counter(spec.counter, ttl)
    if spec.count_min is not None:
        return _CountMin(spec.count_min, seed)
    if spec.probabilistic is not None:
        return _Chance(spec.probabilistic.probability, seed)
    return _Everyone()


class _Everyone:
    """Every key, at once."""

    def __init__(self) -> None:
        self.memory: dict[str, Memory] = {}

    def admits(self, uses: Uses, moment: Moment) -> NDArray[np.bool_]:
        del moment
        return np.ones(len(uses.keys), np.bool_)

    def sweep(self, moment: Moment) -> None:
        """Nothing waits."""

    def erase(self, is_erased: Callable[[Keys], NDArray[np.bool_]]) -> None:
        """No key is remembered."""

    def resume(self, now: float) -> None:
        """Nothing goes by time."""


class _Chance(_Everyone):
    """Each occurrence with a fixed chance, drawn from key, step and seed alone."""

    def __init__(self, probability: float, seed: int) -> None:
        super().__init__()
        self._probability = probability
        self._seed = seed

    def admits(self, uses: Uses, moment: Moment) -> NDArray[np.bool_]:
        draws = np.empty(len(uses.keys))
        _draw(uses.keys, np.uint64(self._seed), np.uint64(moment.step), draws)
        # One draw for all occurrences in the step: the chance that none of them is lucky.
        return draws >= (1 - self._probability) ** uses.counts


class _Counter(_Everyone):
    """Keys seen `threshold` times, counted exactly."""

    def __init__(self, spec: CounterAdmission, ttl: TtlEviction | None) -> None:
        self._threshold = spec.threshold
        self._eviction = EvictionSpec(ttl=ttl)
        self._waiting = TrainingTable({USAGE: USAGE_COLUMN}, seed=0)
        self.memory = {WAITING: self._waiting}

    def admits(self, uses: Uses, moment: Moment) -> NDArray[np.bool_]:
        slots = self._waiting.admit(uses.keys)
        usage = self._waiting.values(USAGE)
        note_uses(usage, slots, uses, moment.step, None)
        self._waiting.touch(slots)
        is_admitted: NDArray[np.bool_] = usage[slots, FREQUENCY] >= self._threshold * ONE
        self._waiting.evict(slots[is_admitted])
        return is_admitted

    def sweep(self, moment: Moment) -> None:
        for slots in condemned(self._waiting, self._eviction, moment.now, since_step=0).values():
            self._waiting.evict(slots)

    def erase(self, is_erased: Callable[[Keys], NDArray[np.bool_]]) -> None:
        self._waiting.erase(is_erased)


class _CountMin(_Everyone):
    """Keys that a sketch has seen `threshold` times."""

    def __init__(self, spec: CountMinAdmission, seed: int) -> None:
        self._least = spec.threshold * (1 - _ROUNDING)
        self._sketch = Sketch(
            width=spec.width, depth=spec.depth, half_life_seconds=spec.half_life_seconds, seed=seed
        )
        aging = f"-{spec.half_life_seconds:g}s" if spec.half_life_seconds else ""
        self.memory = {f"sketch-{spec.depth}x{spec.width}{aging}": self._sketch}

    def admits(self, uses: Uses, moment: Moment) -> NDArray[np.bool_]:
        return self._sketch.count(uses.keys, uses.counts, moment.now) >= self._least

    def resume(self, now: float) -> None:
        self._sketch.resume(now)


@njit(cache=True, nogil=True)
def _draw(keys: Keys, seed: np.uint64, step: np.uint64, draws: NDArray[np.float64]) -> None:
    """Uniform in [0, 1), one for each key at this step."""
    for i in range(len(keys)):
        state = mix(np.uint64(keys[i]) ^ mix(step + mix(seed + GOLDEN)))
        draws[i] = np.float64(state >> np.uint64(11)) / np.float64(1 << 53)
