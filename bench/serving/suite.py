"""All figures of the server beside its peers: each load in turns, and every bar.

One row or more for each line of the table that the server is held to. All but sums are medians of
three runs or more, with the smallest and the largest of them in the bar.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.environments import environment
from bench.measuring import (
    Turns,
    beside,
    fraction_of,
    in_turns,
    median_at_most,
    times_faster,
)
from bench.serving.asking import answer_of
from bench.serving.closed_loop import wrk
from bench.serving.freshness import beside_deltas, first_answer
from bench.serving.load import OPEN_SECONDS, Load
from bench.serving.overload import overload_rows
from bench.serving.remembering import remembered_rows
from bench.serving.scoring import model_rows, outside_row
from bench.serving.servers import PEERS_BY_NAME, millstream, peer, published
from bench.serving.workload import Sizes, draw_requests, write_model
from demo.report import Row, at_least, at_most
from millstream_serving.engine.reduced import UNIT

if TYPE_CHECKING:
    from bench.serving.processes import Server
    from bench.serving.servers import Publication
    from bench.serving.workload import Request

CORES: Final = 2
RUNS: Final = 3
WARM_SECONDS: Final = 3
DELTAS_RATE: Final = 150.0  # requests a second while versions come in
REQUESTS: Final = 2000
COMPARED: Final = 100  # requests of which both sides' answers are held against each other
YARDSTICK: Final = "FastAPI + uvicorn"
FACTORED_BAR: Final = 2
BARS: Final = {YARDSTICK: 5}  # of the others there is none


def serving_rows() -> list[Row]:
    """Ours and the peers on this machine, the server's processes and the load sharing its cores."""
    wrk()
    sizes, packages = Sizes(), environment("peers")
    requests = draw_requests(sizes, REQUESTS)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        model = folder / "model"
        write_model(model, sizes)
        load = Load(folder, requests)
        publication = running.enter_context(published(folder / "ours", sizes))
        start = partial(peer, environment=packages, model=model, workers=CORES)
        alone = _alone(load, publication)
        ours = running.enter_context(millstream(publication, threads=CORES))
        load.most(ours)  # warm
        starts = [*alone.starts, ours.started]
        rows = [median_at_most("start to ready, 1e6 + 1e6 rows from S3", starts, 5.0, "s")]
        for each in PEERS_BY_NAME:
            with start(each) as other:
                rows += _against(load, ours, other, BARS.get(each), requests[:COMPARED])
                if each == YARDSTICK:
                    rows += _waits(load, ours, other)
                    rows += _reduced(load, publication, other)
        with start(YARDSTICK, is_factored=True) as other:
            rows += _against(load, ours, other, FACTORED_BAR, requests[:COMPARED])
        rows += overload_rows(load, publication, RUNS)
        rows += first_answer(publication, ours, requests[0])
        # What comes too late for the usual budget has failed here.
        visit = partial(load.waits, ours, DELTAS_RATE, headers={})
        rows += beside_deltas(publication, visit, OPEN_SECONDS, RUNS)
        failed = sum(count for name, count in load.failed.items() if name.startswith(ours.name))
        rows += [
            at_most("memory with both cores in use against one", alone.shared, 1.2, "×"),
            at_most("failed requests of millstream", failed, 0, ""),
        ]
        rows += model_rows(publication, model, requests, RUNS)
    with tempfile.TemporaryDirectory() as name:
        rows.append(outside_row(Path(name), RUNS))
    with tempfile.TemporaryDirectory() as name:
        return [*rows, *remembered_rows(Path(name), RUNS)]


@dataclass(frozen=True)
class _Alone:
    """What was seen of servers that were started for that alone."""

    starts: list[float]  # seconds
    shared: float  # memory with all cores in use, as a multiple of that with one


def _alone(load: Load, publication: Publication) -> _Alone:
    starts, memory = [], []
    for threads in (1, CORES):
        with millstream(publication, threads=threads) as server:
            starts.append(server.started)
            load.most(server)
            memory.append(server.memory())
    return _Alone(starts, memory[1] / memory[0])


def _against(
    load: Load, ours: Server, other: Server, bar: float | None, compared: list[Request]
) -> list[Row]:
    agreement = _agreement(ours, other, compared)
    load.most(other, WARM_SECONDS)
    turns = in_turns(lambda: 1 / load.most(ours), lambda: 1 / load.most(other), runs=RUNS)
    spent = Turns(load.processor[ours.name][-RUNS:], load.processor[other.name][-RUNS:])
    speed = 1 / median(turns.ours)
    return [
        at_least(f"answers that name the same ten items as {other.name}", agreement, 0.99, ""),
        times_faster(f"requests a second, {CORES} cores", turns, bar, other.name, speed, "/s"),
        beside("processor time of a request", spent, other.name, 1e6, "µs"),
        Row(
            what="memory",
            value=ours.memory() / 1e6,
            unit="MB",
            against=other.name,
            ratio=other.memory() / ours.memory(),
        ),
    ]


def _waits(load: Load, ours: Server, other: Server, note: str = "") -> list[Row]:
    """Both at half of what the peer answers at most."""
    rate = load.most(other) / 2
    found = [(load.waits(ours, rate), load.waits(other, rate)) for _ in range(RUNS)]
    rows = []
    for what, bar in (("p50", 4), ("p99", 5)):
        turns = Turns(
            *([getattr(side, what) / 1e3 for side in sides] for sides in zip(*found, strict=True))
        )
        name = ", ".join(filter(None, (f"{what} at {rate:.0f} requests a second", note)))
        rows.append(fraction_of(name, turns, bar, other.name))
    return rows


def _reduced(load: Load, publication: Publication, other: Server) -> list[Row]:
    """The same server in reduced precision, where this processor has one."""
    if not UNIT.is_available():
        return []
    with millstream(publication, threads=CORES, precision="BFloat16") as ours:
        load.most(ours, WARM_SECONDS)
        turns = in_turns(lambda: 1 / load.most(ours), lambda: 1 / load.most(other), runs=RUNS)
        what = f"requests a second, {CORES} cores, BFloat16"
        row = times_faster(what, turns, BARS[other.name], other.name, 1 / median(turns.ours), "/s")
        return [row, *_waits(load, ours, other, "BFloat16")]


def _agreement(ours: Server, other: Server, requests: list[Request]) -> float:
    """The share of requests for which both name the same items, in whatever order."""
    same = 0
    for request in requests:
        found = {each["id"] for each in answer_of(ours, request)["items"]}
        same += found == set(answer_of(other, request)["items"])
    return same / len(requests)
