"""Tables with a memory budget under Zipf traffic: where rows are found, and what that costs.

Each side takes the same steps: look up a batch, read its rows, write them as the optimizer does,
note their use, sweep. The sides are a table in memory, tables of which 100, 50, 20 and 10 % may be
in memory, and the plain alternative: all rows in the file, left to the page cache. While memory is
plentiful, that cache holds the whole file; what a reader of a full machine would see is measured
with the pages of the file put out to disk before every round.
"""

from __future__ import annotations

import ctypes
import mmap
import tempfile
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.measuring import RUNS, seconds
from demo.report import Row
from millstream_api.tables import AdmissionSpec, EvictionSpec
from millstream_core.tables.lifecycle import SWEEP_STEPS, Lifecycle
from millstream_core.tables.overflow import LEAST_ROWS, Overflow
from millstream_core.tables.snapshots import ColumnSpec
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.usage import USAGE, USAGE_COLUMN, Moment, Uses
from millstream_trainer.models.rowwise_adagrad import update_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KEYS: Final = 1_000_000
DIM: Final = 64
BATCH: Final = 20_000
EXPONENT: Final = 1.05
SHARES: Final = (1.0, 0.5, 0.2, 0.1)
ROW_BYTES: Final = 4 * DIM + 4 + 16  # what a budget counts: values, accumulator, hash
WARM_UP: Final = 24  # sweeps until rows are where they belong
STEPS: Final = 32  # of a round
SECONDS_A_STEP: Final = 1.0  # of event time
LEAST_OF_BEST: Final = 0.9
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_MS_SYNC: Final = 4
_PAGE_OUT: Final = 21  # MADV_PAGEOUT of Linux 5.4, which the mmap module does not name


def tier_rows() -> list[Row]:
    """All figures."""
    traffic = Traffic()
    rows = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        plain = Side(traffic, None)
        left = Side(traffic, Overflow(Path(folder), LEAST_ROWS * ROW_BYTES, 1 << 40))
        left.places = False
        for share in SHARES:
            side = Side(traffic, Overflow(Path(folder), int(share * KEYS) * ROW_BYTES, 1 << 40))
            rows += compared(traffic, share, side, plain, left)
    return rows


class Traffic:
    """Batches of a bounded Zipf law over keys in no order."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(0)
        self.keys = self._draw.permutation(np.arange(KEYS, dtype=np.int64))  # popular ones first
        self._popularity = np.cumsum(np.arange(1.0, KEYS + 1) ** -EXPONENT)
        self.begun = self._draw.permutation(self.keys)  # the order in which rows are begun

    def batches(self, count: int) -> Iterator[NDArray[np.int64]]:
        """So many batches."""
        for _ in range(count):
            drawn = self._draw.random(BATCH) * self._popularity[-1]
            yield self.keys[np.minimum(np.searchsorted(self._popularity, drawn), KEYS - 1)]


@dataclass
class Spent:
    """Seconds on rows, and how many there were."""

    reading: float = 0.0
    writing: float = 0.0
    placing: float = 0.0
    rows: int = 0


@dataclass
class Side:
    """One table and what is done to it."""

    traffic: Traffic
    overflow: Overflow | None
    places: bool = True
    spent: Spent = field(default_factory=Spent)
    number: int = 0

    def __post_init__(self) -> None:
        specs = {
            "rows": ColumnSpec(dtype="float32", width=DIM, serve="float32", uniform=0.05),
            "accumulator": ColumnSpec(dtype="float32", width=1),
            USAGE: USAGE_COLUMN,
        }
        table = TrainingTable(specs, seed=0, max_rows=KEYS, overflow=self.overflow)
        self.life = Lifecycle(table, AdmissionSpec(), EvictionSpec())
        for start in range(0, KEYS, BATCH):
            table.admit(self.traffic.begun[start : start + BATCH])
        self._gradients = np.full((BATCH, DIM), 1e-3, np.float32)
        self._read = np.empty((BATCH, DIM), np.float32)

    def steps(self, batches: list[NDArray[np.int64]]) -> float:
        """Seconds of steps on these batches."""
        began = time.perf_counter()
        for batch in batches:
            self._step(batch)
        return time.perf_counter() - began

    def _step(self, batch: NDArray[np.int64]) -> None:
        self.number += 1
        moment = Moment(self.number, self.number * SECONDS_A_STEP)
        table = self.life.table
        distinct = table.distinct(batch)
        uses = Uses.of(distinct, np.full(len(batch), moment.now))
        slots = self.life.admit(uses, moment)
        values, accumulators = table.values("rows"), table.values("accumulator")
        out, gradients = self._read[: len(slots)], self._gradients[: len(slots)]
        self.spent.reading += seconds(lambda: np.take(values, slots, 0, out=out, mode="clip"))
        self.spent.writing += seconds(
            lambda: update_rows(values, accumulators, slots, gradients, np.float32(0.05))
        )
        self.spent.rows += len(slots)
        self.life.trained(slots, uses, moment)
        if self.places:
            self.spent.placing += seconds(lambda: self.life.sweep(moment))

    def fetch(self) -> None:
        """Bring the pages of all rows into memory."""
        for column in ("rows", "accumulator"):
            self.life.table.values(column).sum()

    def page_out(self) -> None:
        """Put the pages of the file out to disk, as a machine without free memory would."""
        table = self.life.table
        for column in ("rows", "accumulator"):
            values = table.values(column)
            begin = table.memory_rows * values.strides[0] // mmap.PAGESIZE * mmap.PAGESIZE
            span = (values.ctypes.data + begin, values.nbytes - begin)
            for call, how in ((_LIBC.msync, _MS_SYNC), (_LIBC.madvise, _PAGE_OUT)):
                if span[1] > 0 and call(ctypes.c_void_p(span[0]), ctypes.c_size_t(span[1]), how):
                    raise OSError(ctypes.get_errno(), "the pages stay")


def compared(traffic: Traffic, share: float, side: Side, plain: Side, left: Side) -> list[Row]:
    """One budget against all rows in memory, and against all rows left to the page cache."""
    side.steps(list(traffic.batches(WARM_UP * SWEEP_STEPS)))
    of = f"{share:.0%} of 1e6 rows in memory"
    what = f"a sweep while rows find their places, {of}"
    rows = [Row(what=what, value=side.spent.placing / WARM_UP * 1e3, unit="ms", runs=WARM_UP)]
    rows += hit_rates(traffic, share, side, of)
    for each in (side, plain, left):
        each.fetch()
    warm = [_round(traffic, (side, plain, left)) for _ in range(RUNS)]
    for what, part in (("read", 0), ("written", 1)):
        for name, other in (("all in memory", 1), ("all in the page cache", 2)):
            ratios = [each[0][part] / each[other][part] for each in warm]
            value = median(each[0][part] for each in warm)
            rows.append(_cost(f"a row {what}, {of}", value, ratios, name))
    if share < 1:
        cold = [_round(traffic, (side, left), is_cold=True) for _ in range(RUNS)]
        for what, part in (("read", 0), ("written", 1)):
            ratios = [each[0][part] / each[1][part] for each in cold]
            value = median(each[0][part] for each in cold)
            against = "all on disk, likewise"
            rows.append(_cost(f"a row {what}, {of}, the rest read anew", value, ratios, against))
    return rows


def hit_rates(traffic: Traffic, share: float, side: Side, of: str) -> Iterator[Row]:
    """How many of the rows that steps read are in memory."""
    batches = list(traffic.batches(SWEEP_STEPS))
    side.life.take_changes()
    side.steps(batches)
    read = side.life.take_changes().read
    found = read["memory"] / max(1, read.total()) if read else 1.0
    distinct = [np.unique(batch) for batch in batches]
    is_popular = np.zeros(KEYS, np.bool_)
    is_popular[traffic.keys[: side.life.table.memory_rows]] = True
    best = sum(is_popular[keys].sum() for keys in distinct) / sum(map(len, distinct))
    yield Row(
        what=f"rows found in memory, {of}",
        value=found * 100,
        unit="%",
        against="the most popular rows in memory",
        ratio=found / best,
        bar=f"≥ {LEAST_OF_BEST:g} × what the most popular rows would give ({best:.1%})",
        holds=bool(found >= LEAST_OF_BEST * best),
    )
    if share < 1:
        pages = int(share * KEYS) * 4 * DIM // mmap.PAGESIZE
        cached = _cached(traffic, batches, pages)
        yield Row(
            what=f"rows found by pages used last, as many as hold {share:.0%} (simulated)",
            value=cached * 100,
            unit="%",
            against="placement by row",
            ratio=cached / found,
        )


def _cached(traffic: Traffic, batches: list[NDArray[np.int64]], most: int) -> float:
    """The share of rows that a cache of whole pages, least recently used out, would hold."""
    slot_of = np.argsort(traffic.begun)
    cache: OrderedDict[int, None] = OrderedDict()
    found = asked = 0
    for number, batch in enumerate(batches):
        slots = slot_of[np.unique(batch)]
        for page in (slots * 4 * DIM // mmap.PAGESIZE).tolist():
            if number >= len(batches) // 2:  # before that it fills
                asked += 1
                found += page in cache
            cache[page] = None
            cache.move_to_end(page)
            if len(cache) > most:
                cache.popitem(last=False)
    return found / asked


def _round(
    traffic: Traffic, sides: tuple[Side, ...], *, is_cold: bool = False
) -> list[tuple[float, float]]:
    """Nanoseconds that a row took to be read and to be written, by side."""
    batches, found = list(traffic.batches(STEPS)), []
    for side in sides:
        if is_cold:
            side.page_out()
        side.spent = Spent()
        side.steps(batches)
        spent = side.spent
        found.append((spent.reading / spent.rows * 1e9, spent.writing / spent.rows * 1e9))
    return found


def _cost(what: str, value: float, ratios: list[float], against: str) -> Row:
    return Row(
        what=what,
        value=value,
        unit="ns",
        against=against,
        ratio=median(ratios),
        bar=f"{median(ratios):.2f} × {against} ({min(ratios):.2f}-{max(ratios):.2f} here)",
        runs=len(ratios),
    )
