"""A count-min sketch whose counts age: about how often each key occurred, in memory of fixed size.

Cormode and Muthukrishnan, An Improved Data Stream Summary: The Count-Min Sketch and its
Applications (Journal of Algorithms 2005), with the conservative update of Estan and Varghese (New
Directions in Traffic Measurement and Accounting, SIGCOMM 2002): only cells that say too little are
raised. An estimate is never too small; in `depth` rows of `width` cells it is too large by more
than e / width of all counts with a chance of at most e^-depth.

Counts decay forward (Cormode et al., Forward Decay, ICDE 2009): an occurrence at time t adds
2^((t − era) / half-life), and cells are only touched where something is counted. After ERA
half-lives all cells are scaled by a power of two, which rounds nothing.

To a version a cell is a row: its number is the key. A delta holds the cells changed since the last
commit, 12 bytes each, and a base those that are not zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_core.tables.digest import EMPTY_STATE
from millstream_core.tables.hashing import GOLDEN, mix
from millstream_core.tables.snapshots import ColumnSpec, Rows, SealedTable, TableSnapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.index import Keys

ERA: Final = 32  # half-lives
_COUNT: Final = ColumnSpec(dtype="float32", width=1)
_FORGOTTEN: Final = 2.0**-20  # of one occurrence


class Sketch:
    """Counts by key; one thread uses it."""

    def __init__(
        self, *, width: int, depth: int, half_life_seconds: float | None, seed: int
    ) -> None:
        """Start with nothing counted: 8 · width · depth bytes."""
        self._width, self._depth, self._seed = width, depth, seed
        self._half_life = half_life_seconds
        self._cells = np.zeros(width * depth, np.float32)  # as of the era's beginning
        self._written = np.zeros(width * depth, np.int32)  # see TrainingTable
        self._era: int | None = None  # None: nothing counted or restored yet
        self._period = 1
        self._committed = 0

    @property
    def bytes(self) -> int:
        """Memory of all of it."""
        return self._cells.nbytes + self._written.nbytes

    def count(self, keys: Keys, counts: NDArray[np.int64], now: float) -> NDArray[np.float64]:
        """Add occurrences at this time.

        Args:
            keys: int64[n], distinct.
            counts: int64[n].
            now: Unix seconds of event time, never going back.

        Returns:
            float64[n], the estimates with these.
        """
        estimates = np.empty(len(keys))
        scale = self._scale(now)
        places = np.empty((len(keys), self._depth), np.int64)
        _place(keys, self._width, np.uint64(self._seed), places)
        _raise_cells(self._cells, self._written, self._period, places, counts, scale, estimates)
        return estimates

    def snapshot(self, *, whole: bool) -> TableSnapshot:
        """See TrainingTable."""
        is_written = self._written > self._committed
        cells = np.flatnonzero(self._cells if whole else is_written)
        period, self._period = self._period, self._period + 1
        nothing = np.zeros((0, 2), np.uint64)
        return TableSnapshot(
            specs={"count": _COUNT},
            seed=self._seed,
            period=period,
            rows=Rows(cells, {"count": self._cells[cells, None]}),
            total=int(np.count_nonzero(self._cells)),
            touched=int(np.count_nonzero(is_written)),
            hashes_before=nothing,
            hashes_gone=nothing,
            digest_before=EMPTY_STATE,
        )

    def committed(self, sealed: SealedTable) -> None:
        """See TrainingTable."""
        self._committed = sealed.snapshot.period

    def restore(self, rows: Rows) -> None:
        """See TrainingTable; `resume` has to follow."""
        self._cells[rows.keys] = rows.columns["count"][:, 0]

    def resume(self, now: float) -> None:
        """Take what was restored for counts as of this time, the last one counted at."""
        self._era = self._era_of(now)

    def _era_of(self, now: float) -> int:
        return int(now // (ERA * self._half_life)) if self._half_life else 0

    def _scale(self, now: float) -> float:
        """What an occurrence adds to a cell; ages the cells where a new era has begun."""
        era = self._era_of(now)
        passed = era - self._era if self._era is not None else 0
        self._era = era
        if passed > 0:
            is_counted = self._cells > 0
            self._cells *= np.float32(2.0 ** -(ERA * passed))
            self._cells[self._cells < _FORGOTTEN] = 0
            self._written[is_counted] = self._period
        return 2.0 ** (now / self._half_life - ERA * era) if self._half_life else 1.0


@njit(cache=True, nogil=True)
def _place(keys: Keys, width: int, seed: np.uint64, places: NDArray[np.int64]) -> None:
    """Where each key is counted, one cell in each row of the sketch."""
    for i in range(len(keys)):
        state = mix(np.uint64(keys[i]) ^ mix(seed + GOLDEN))
        for row in range(places.shape[1]):
            state += GOLDEN
            places[i, row] = row * width + np.int64(mix(state) % np.uint64(width))


@njit(cache=True, nogil=True)
def _raise_cells(
    cells: NDArray[np.float32],
    written: NDArray[np.int32],
    period: int,
    places: NDArray[np.int64],
    counts: NDArray[np.int64],
    scale: float,
    estimates: NDArray[np.float64],
) -> None:
    for i in range(len(places)):
        least = np.float64(cells[places[i, 0]])
        for row in range(1, places.shape[1]):
            least = min(least, np.float64(cells[places[i, row]]))
        least += counts[i] * scale
        estimates[i] = least / scale
        for row in range(places.shape[1]):
            cell = places[i, row]
            if cells[cell] < least:
                cells[cell] = least
                written[cell] = period
