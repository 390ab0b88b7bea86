"""What versions cost a server: applying a delta beside readers, holding several, going on for ever.

Each figure is taken in a process of its own, because memory that an allocator once got from the
system is counted for ever after.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar
from unittest.mock import patch

import numpy as np

from bench.measuring import in_turns
from demo.report import Row, at_most
from millstream_api.manifest import Column
from millstream_core.tables.versioned import VersionedTable
from millstream_serving.loading.pace import Pace, give_way
from tests.builders.processes import PROMPT_RETURN, anonymous_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from millstream_core.tables.versioned import TableVersion

T = TypeVar("T")

DIM: Final = 64
ROWS: Final = 1_000_000
CANDIDATES: Final = 150  # rows that one request reads
READERS: Final = 2
NO_KEYS: Final = np.empty(0, np.int64)
MANY: Final = 10_000


def version_rows() -> list[Row]:
    """All figures of a server's tables."""
    return [
        *_apart(_beside_readers),
        *_apart(_four_versions, PROMPT_RETURN),
        *_apart(_many_deltas, PROMPT_RETURN),
    ]


def _apart(
    measure: Callable[[], list[Row]], variables: Mapping[str, str] = MappingProxyType({})
) -> list[Row]:
    """Measure in a new process, which alone has these variables in its environment."""
    with (
        patch.dict(os.environ, variables),
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        return pool.apply(measure)


class _Server:
    """A table as a server holds it, and the rows that a trainer would send."""

    def __init__(self, rows: int) -> None:
        self._draw = np.random.default_rng(0)
        self.keys = np.arange(rows, dtype=np.int64) * 7919
        column = Column(dtype="float32", width=DIM, group="serve")
        self.table = VersionedTable({"rows": column}, 4 * rows)
        given = {"rows": self.values(rows)}
        self.version = self.table.load(None, self.keys, given, NO_KEYS, whole=True)

    def delta(self, count: int, *, new: NDArray[np.int64] = NO_KEYS) -> NDArray[np.int64]:
        touched = self._draw.choice(self.keys, count - len(new), replace=False)
        return np.sort(np.concatenate([touched, new]))

    def values(self, count: int) -> NDArray[np.float32]:
        return self._draw.standard_normal((count, DIM), np.float32)

    def apply(self, keys: NDArray[np.int64], gone: NDArray[np.int64] = NO_KEYS) -> TableVersion:
        rows = {"rows": self.values(len(keys))}
        self.version = self.table.load(self.version, keys, rows, gone, whole=False)
        self.table.collect()
        return self.version


def _beside_readers() -> list[Row]:
    """100,000 rows applied while as many threads as there are cores read without a pause."""
    server, runs = _Server(ROWS), 5
    deltas = [(server.delta(100_000), {"rows": server.values(100_000)}) for _ in range(runs)]
    stop = threading.Event()
    began_at = [0.0]
    reads: list[list[tuple[float, float]]] = [[] for _ in range(READERS)]

    def read(mine: list[tuple[float, float]], seed: int) -> None:
        draw = np.random.default_rng(seed)
        wanted = [draw.choice(server.keys, CANDIDATES) for _ in range(64)]
        while not stop.is_set():
            for keys in wanted:
                began = time.perf_counter()
                server.version.gather("rows", keys)
                mine.append((began, time.perf_counter() - began))

    def apply(keys: NDArray[np.int64], rows: dict[str, NDArray[np.float32]]) -> None:
        give_way()
        table, version, rest = server.table, server.version, Pace().rest
        server.version = table.load(version, keys, rows, NO_KEYS, whole=False, rest=rest)
        table.collect()

    readers = [threading.Thread(target=read, args=(mine, seed)) for seed, mine in enumerate(reads)]
    for reader in readers:
        reader.start()
    quiet, busy, visible = [], [], []
    for delta in deltas:
        began_at[0] = time.perf_counter()
        time.sleep(1.0)  # as long as a delta may take: the other half of the comparison
        applied_at = time.perf_counter()
        loading = threading.Thread(target=apply, args=delta)
        loading.start()
        loading.join()
        ended_at = time.perf_counter()
        visible.append(ended_at - applied_at)
        quiet.append((began_at[0], applied_at))
        busy.append((applied_at, ended_at))
    stop.set()
    for reader in readers:
        reader.join()
    alone, beside = _p99(reads, quiet), _p99(reads, busy)
    return [
        at_most("100,000 x 64 rows visible beside full read load", max(visible), 2.0, "s"),
        at_most("readers' p99 while they are applied, against without", beside / alone, 1.5, "×"),
    ]


def _p99(reads: list[list[tuple[float, float]]], spans: list[tuple[float, float]]) -> float:
    """Of the reads that began within one of these spans of time."""
    found = np.array([each for mine in reads for each in mine])
    within = np.zeros(len(found), np.bool_)
    for first, last in spans:
        within |= (found[:, 0] >= first) & (found[:, 0] < last)
    return float(np.percentile(found[within, 1], 99))


def _four_versions() -> list[Row]:
    """Stable, two before it and a candidate, each with 5 % of the rows changed."""
    before = anonymous_memory()
    server = _Server(ROWS)
    server.apply(server.delta(1))
    one = anonymous_memory() - before
    held = [server.version]
    held += [server.apply(server.delta(ROWS // 20)) for _ in range(3)]
    four = anonymous_memory() - before
    return [at_most("memory of four versions against one", four / one, 1.3, "×")]


def _many_deltas() -> list[Row]:
    """Deltas of 1,000 rows, of which 10 are new and 10 old ones go, four versions held."""
    server = _Server(100_000)
    held: list[TableVersion] = []
    fresh = 1 << 40
    held_bytes = []
    for number in range(MANY):
        new = np.arange(fresh, fresh + 10, dtype=np.int64)
        fresh += 10
        gone = server.keys[:10]
        server.keys = np.concatenate([server.keys[10:], new])
        held = [*held[-3:], server.apply(server.delta(1000, new=new), gone)]
        if number % 500 == 499:
            held_bytes.append(anonymous_memory())
    # The first thousand fill what collecting then reuses.
    grown = max(held_bytes[1:]) / held_bytes[1]
    start = _Server(100_000)
    turns = in_turns(lambda: _median_read(server), lambda: _median_read(start), runs=9)
    slower = 1 / median(turns.ratios)
    return [
        at_most(f"memory in {MANY:,} deltas against after 1,000", grown, 1.05, "×"),
        at_most(f"median read after {MANY:,} deltas against before any", slower, 1.05, "×"),
    ]


def _median_read(server: _Server) -> float:
    draw, spent = np.random.default_rng(0), []
    for _ in range(2000):
        keys = draw.choice(server.keys, CANDIDATES)
        began = time.perf_counter()
        server.version.gather("rows", keys)
        spent.append(time.perf_counter() - began)
    return median(spent)
