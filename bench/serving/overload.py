"""Three times as many requests as the server can answer: it goes on answering as many as it can.

How much it can do is what wrk got out of it in a closed loop just before, on the same cores. Then
the open loop sends three times that, whatever comes back, and counts each wait from when the
request was due, so that a refusal which itself stood in a queue is charged for that.

Client and server share two cores, and there is no machine for the client alone. So the client is
cheap (see `connections`), nothing is pinned, and what the client takes is taken from the server in
this run as wrk's part was in the other: where 0.9 of the maximum is asked for, the client's three
requests for each one answered are charged to the server too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.measuring import median_at_least, median_at_most, spread
from bench.serving.open_loop import percentile
from demo.report import Row

if TYPE_CHECKING:
    from bench.serving.load import Load
    from bench.serving.processes import Server

TIMES: Final = 3
SECONDS: Final = 8.0


def overload_rows(load: Load, server: Server, runs: int) -> list[Row]:
    """Goodput, how soon refusals come, and memory; a server that has been warmed up."""
    goodput, refused_after, answered_after, memory = [], [], [], [server.memory()]
    for _ in range(runs):
        most = load.most(server)
        found = load.overload(server, TIMES * most, SECONDS)
        goodput.append(found.goodput / most)
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
