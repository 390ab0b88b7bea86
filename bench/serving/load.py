"""What is asked of every server alike, and what answering costs it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from bench.serving.closed_loop import ask, write_script
from bench.serving.open_loop import visit
from bench.serving.workload import PATIENT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.serving.open_loop import Visit
    from bench.serving.processes import Server
    from bench.serving.workload import Request

CONNECTIONS: Final = 16
SECONDS: Final = 6  # of a closed loop
OPEN_SECONDS: Final = 15.0


class Load:
    """The requests of one workload."""

    def __init__(self, folder: Path, requests: list[Request]) -> None:
        """Ask these, round and round.

        Args:
            folder: for what wrk reads.
            requests: the same for all servers.
        """
        self.failed: Counter[str] = Counter()  # requests without an answer, by server
        self.processor: defaultdict[str, list[float]] = defaultdict(list)  # seconds an answer
        self._requests = requests
        self._script = write_script(folder, [each.body() for each in requests])

    def most(self, server: Server, seconds: int = SECONDS) -> float:
        """Answers a second in a closed loop."""
        before = server.processor_seconds()
        found = ask(server.endpoint, self._script, connections=CONNECTIONS, seconds=seconds)
        used = server.processor_seconds() - before
        self.processor[server.name].append(used / (found.per_second * seconds))
        self.failed[server.name] += found.failed
        return found.per_second

    def waits(
        self, server: Server, per_second: float, headers: Mapping[str, str] = PATIENT
    ) -> Visit:
        """How long users wait in an open loop, at a rate that the server can answer."""
        found = self._visit(server, per_second, OPEN_SECONDS, headers)
        self.failed[server.name] += len(found.refused)
        return found

    def overload(self, server: Server, per_second: float, seconds: float) -> Visit:
        """The same at any rate and with the usual budget: to be refused is not to have failed."""
        return self._visit(server, per_second, seconds, {})

    def _visit(
        self, server: Server, per_second: float, seconds: float, headers: Mapping[str, str]
    ) -> Visit:
        found = visit(
            server.endpoint,
            self._requests,
            per_second=per_second,
            seconds=seconds,
            headers=headers,
        )
        self.failed[server.name] += found.failed
        return found
