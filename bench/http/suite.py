"""One process of each HTTP server, answering the same bytes to the same requests, in turns.

Nothing is computed: the server reads a question of the usual size and sends ten fixed items, so
what is left is the library, or what our server has of its own between the library's parser and the
answer. wrk shares the cores with it, whose part is the same for all.
socketify is left out: 0.0.31 aborts at the first load where a coroutine answers, by its own
interface and by ASGI alike.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

from bench.environments import environment
from bench.measuring import spread
from bench.serving.closed_loop import ask, write_script, wrk
from bench.serving.processes import running
from bench.serving.workload import Sizes, draw_requests
from demo.report import Row
from tests.builders.ports import free_port

if TYPE_CHECKING:
    from bench.serving.processes import Server

CANDIDATES: Final = Path(__file__).parent / "candidates"
PATH: Final = "/v1/rank"
YARDSTICK: Final = "granian RSGI"
OURS: Final = "ours"
COMMANDS: Final = {  # for a port
    YARDSTICK: "python granian_embedded.py rsgi {port}",
    "granian ASGI": "python granian_embedded.py asgi {port}",
    "uvicorn": "uvicorn asgi:app --loop uvloop --http httptools --port {port}"
    " --no-access-log --log-level warning",
    "hypercorn": "hypercorn asgi:app --worker-class uvloop --bind 127.0.0.1:{port}"
    " --log-level warning",
    "robyn": "python robyn_app.py {port} --processes 1 --workers 1 --log-level WARN",
    "aiohttp": "python aiohttp_app.py {port}",
    OURS: "python ours.py {port}",
}
RUNS: Final = 3
CONNECTIONS: Final = 16
SECONDS: Final = 5
WARM_SECONDS: Final = 1
MEASURES: Final = {
    "requests a second": "/s",
    "p50": "ms",
    "p99": "ms",
    "processor time of a request": "µs",
}


def http_rows() -> list[Row]:
    """All candidates by each measure, as multiples of granian RSGI in the same round."""
    wrk()
    theirs, ours = environment("http") / "bin", Path(sys.executable).parent
    found: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in COMMANDS}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        bodies = [each.body() for each in draw_requests(Sizes(users=10_000, items=10_000), 500)]
        script = write_script(Path(name), bodies)
        servers = []
        for candidate, command in COMMANDS.items():
            port = free_port()
            program, *options = command.format(port=port).split()
            packages = ours if candidate == OURS else theirs
            server = stack.enter_context(
                running(
                    candidate,
                    [str(packages / program), *options],
                    port,
                    ready=PATH,
                    path=PATH,
                    variables={},
                    folder=CANDIDATES,
                )
            )
            ask(server.endpoint, script, connections=CONNECTIONS, seconds=WARM_SECONDS)
            servers.append(server)
        for _ in range(RUNS):
            for server in servers:
                for measure, value in _measured(server, script).items():
                    found[server.name][measure].append(value)
    return [
        _row(candidate, measure, unit, found[candidate][measure], found[YARDSTICK][measure])
        for measure, unit in MEASURES.items()
        for candidate in COMMANDS
    ]


def _measured(server: Server, script: Path) -> dict[str, float]:
    before = server.processor_seconds()
    told = ask(server.endpoint, script, connections=CONNECTIONS, seconds=SECONDS)
    used = server.processor_seconds() - before
    if told.failed:
        raise RuntimeError(f"{server.name} failed {told.failed} requests")
    spent = used / (told.per_second * SECONDS) * 1e6
    return dict(zip(MEASURES, (told.per_second, told.p50, told.p99, spent), strict=True))


def _row(
    candidate: str, measure: str, unit: str, values: list[float], yardstick: list[float]
) -> Row:
    ratios = [value / by for value, by in zip(values, yardstick, strict=True)]
    return Row(
        what=f"{candidate}: {measure}",
        value=median(values),
        unit=unit,
        against=YARDSTICK,
        ratio=median(ratios),
        bar=f"({median(ratios):.3g} × {YARDSTICK}; {spread(ratios)} here)",
        runs=len(values),
    )
