"""Three times as many requests as the server can answer: it goes on answering as many as it can.

How much it can do is what wrk got out of it in a closed loop just before and just after. Between,
the open loop sends three times that, whatever comes back, and counts each wait from when the
request was due, so that a refusal which itself stood in a queue is charged for that.

There is no machine for the client, which at three times the maximum takes a quarter of two cores.
So the server has one half of the processors, with as many threads, and the clients have the other.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bench.measuring import median_at_least, median_at_most, spread
from bench.serving.open_loop import percentile
from bench.serving.servers import millstream
from demo.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.serving.load import Load
    from bench.serving.servers import Publication

TIMES: Final = 3
SECONDS: Final = 8.0


def overload_rows(load: Load, publication: Publication, runs: int) -> list[Row]:
    """Goodput, how soon refusals come, and memory."""
    processors = sorted(os.sched_getaffinity(0))
    half = len(processors) // 2
    with (
        _on(processors[:half]),
        millstream(publication, threads=half) as server,
        _on(processors[half:]),
    ):
        load.most(server)  # warm
        goodput, refused_after, answered_after, memory = [], [], [], [server.memory()]
        most = load.most(server)
        for _ in range(runs):
            found = load.overload(server, TIMES * most, SECONDS)
            before, most = most, load.most(server)
            goodput.append(2 * found.goodput / (before + most))
            refused_after.append(percentile(found.refused, 99))
            answered_after.append(found.p99)
            memory.append(server.memory())
    grown = [each / memory[0] for each in memory[1:]]
    at = f"at {TIMES} × the maximum"
    return [
        median_at_least(f"goodput {at}, against the maximum", goodput, 0.9, "×"),
        median_at_most(f"p99 of refusals {at}", refused_after, 5, "ms"),
        Row(
            what=f"p99 of answers {at}",
            value=sorted(answered_after)[runs // 2],
            unit="ms",
            bar=f"({spread(answered_after)} here)",
            runs=runs,
        ),
        median_at_most(f"memory {at}, against before", grown, 1.05, "×"),
    ]


@contextmanager
def _on(processors: list[int]) -> Iterator[None]:
    """Have this thread, and programs that it starts meanwhile, run on these processors alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
