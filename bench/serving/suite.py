"""All figures of the server beside its peers: each load in turns, and every bar."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.measuring import Turns, fraction_of, in_turns, times_faster
from bench.serving.asking import answer_of
from bench.serving.closed_loop import ask, write_script
from bench.serving.environment import ROOT, peers_environment
from bench.serving.freshness import beside_deltas, first_answer
from bench.serving.open_loop import visit
from bench.serving.servers import millstream, peer
from bench.serving.workload import Sizes, draw_requests, write_model
from demo.report import Row, at_least, at_most

if TYPE_CHECKING:
    from bench.serving.open_loop import Waits
    from bench.serving.servers import Server
    from bench.serving.workload import Request

CORES: Final = 2
CONNECTIONS: Final = 16
SECONDS: Final = 6
OPEN_SECONDS: Final = 15.0
DELTAS_RATE: Final = 150.0  # requests a second while versions come in
RUNS: Final = 3
REQUESTS: Final = 2000
COMPARED: Final = 100  # requests of which both sides' answers are held against each other
YARDSTICK: Final = "FastAPI + uvicorn"


def serving_rows() -> list[Row]:
    """Ours and the peers on this machine, the server's processes and the load sharing its cores."""
    sizes, environment = Sizes(), peers_environment(ROOT / "build" / "peers")
    requests = draw_requests(sizes, REQUESTS)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        write_model(folder / "model", sizes)
        load = _Load(folder, requests)

        def start(**options: bool) -> Server:
            return running.enter_context(
                peer(YARDSTICK, environment, folder / "model", workers=CORES, **options)
            )

        ours = running.enter_context(millstream(folder, sizes, threads=CORES))
        eager, factored = start(), start(is_factored=True)
        flask = running.enter_context(
            peer("Flask + gunicorn", environment, folder / "model", workers=CORES)
        )
        agreement = _agreement(ours, eager, requests[:COMPARED])
        rows = [
            at_least("answers that name the same ten items as torch", agreement, 0.99, ""),
            at_most("start to ready, 1e6 + 1e6 rows from S3", ours.started, 5.0, "s"),
            *_most(load, ours, eager, 5),
            *_most(load, ours, factored, 2),
            *_most(load, ours, flask, 5),
            *_waits(load, ours, eager),
            first_answer(ours, requests[0]),
            beside_deltas(ours, partial(load.waits, ours, DELTAS_RATE), OPEN_SECONDS),
        ]
        memory = {each.name: each.memory() / 1e6 for each in (ours, eager)}
        single = running.enter_context(millstream(folder / "one", sizes, threads=1))
        load.most(single)
        shared = memory[ours.name] / (single.memory() / 1e6)
        return [
            *rows,
            Row(
                what="memory",
                value=memory[ours.name],
                unit="MB",
                against=YARDSTICK,
                ratio=memory[eager.name] / memory[ours.name],
            ),
            at_most("memory with both cores in use against one", shared, 1.2, "×"),
            at_most("failed requests, of all servers", load.failed, 0, ""),
        ]


class _Load:
    """What is asked of every server alike."""

    def __init__(self, folder: Path, requests: list[Request]) -> None:
        self._requests = requests
        self._script = write_script(folder, requests)
        self.processor: dict[str, float] = {}  # seconds an answer, by server, in the last run
        self.failed = 0

    def most(self, server: Server) -> float:
        """Answers a second in a closed loop."""
        before = server.processor_seconds()
        found = ask(server.url, self._script, connections=CONNECTIONS, seconds=SECONDS)
        used = server.processor_seconds() - before
        self.processor[server.name] = used / (found.per_second * SECONDS)
        self.failed += found.failed
        return found.per_second

    def waits(self, server: Server, per_second: float) -> Waits:
        """How long users wait in an open loop."""
        found = visit(server.url, self._requests, per_second=per_second, seconds=OPEN_SECONDS)
        self.failed += found.failed
        return found


def _most(load: _Load, ours: Server, other: Server, bar: float) -> list[Row]:
    load.most(other)  # warm
    load.most(ours)
    turns = in_turns(lambda: 1 / load.most(ours), lambda: 1 / load.most(other), runs=RUNS)
    spent = {name: seconds * 1e6 for name, seconds in load.processor.items()}
    return [
        times_faster(
            f"requests a second, {CORES} cores",
            turns,
            bar,
            other.name,
            1 / median(turns.ours),
            "/s",
        ),
        Row(
            what="processor time of a request",
            value=spent[ours.name],
            unit="µs",
            against=other.name,
            ratio=spent[other.name] / spent[ours.name],
        ),
    ]


def _waits(load: _Load, ours: Server, other: Server) -> list[Row]:
    """Both at half of what the peer answers at most."""
    rate = load.most(other) / 2
    found = [(load.waits(ours, rate), load.waits(other, rate)) for _ in range(RUNS)]
    rows = []
    for what, bar in (("p50", 4), ("p99", 5)):
        turns = Turns(
            *([getattr(side, what) / 1e3 for side in sides] for sides in zip(*found, strict=True))
        )
        name = f"{what} at {rate:.0f} requests a second"
        rows.append(fraction_of(name, turns, bar, other.name))
    return rows


def _agreement(ours: Server, other: Server, requests: list[Request]) -> float:
    """The share of requests for which both name the same items, in whatever order."""
    same = 0
    for request in requests:
        found = {each["id"] for each in answer_of(ours, request)["items"]}
        same += found == set(answer_of(other, request)["items"])
    return same / len(requests)
