"""New versions beside requests: how soon one answers, and what answering costs meanwhile."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from bench.measuring import RUNS, median_at_most
from bench.serving.asking import answer_of
from demo.report import at_most

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.serving.open_loop import Visit
    from bench.serving.processes import Server
    from bench.serving.servers import Publication
    from bench.serving.workload import Request
    from demo.report import Row
    from millstream_api.manifest import VersionRef

CHANGED: Final = 10_000  # items of a delta
EVERY_SECONDS: Final = 1.0
DEADLINE_SECONDS: Final = 30.0


def first_answer(publication: Publication, ours: Server, request: Request) -> list[Row]:
    """From the commit of a delta to an answer from it, by a server that has nothing else to do."""
    spent = []
    for _ in range(RUNS):
        manifest = publication.publisher.delta(CHANGED)
        began = time.perf_counter()
        ref = publication.publisher.commit(manifest)
        publication.answer_with(ref)
        while answer_of(ours, request)["version"] != ref.version:
            if time.perf_counter() - began > DEADLINE_SECONDS:
                raise RuntimeError(f"version {ref.version} does not answer")
        spent.append((time.perf_counter() - began) * 1e3)
    what = f"commit of a delta of {CHANGED:,} items to the first answer from it"
    return [median_at_most(what, spent, 100, "ms")]


def beside_deltas(
    publication: Publication, visit: Callable[[], Visit], seconds: float, runs: int
) -> list[Row]:
    """The slowest answers while a version a second comes in, against those while none does.

    Args:
        publication: that the server follows.
        visit: asks it for so many seconds, in an open loop.
        seconds: that takes.
        runs: of both.
    """
    ratios, unanswered = [], 0
    for _ in range(runs):
        publisher = publication.publisher
        refs = [
            publisher.commit(publisher.delta(CHANGED)) for _ in range(int(seconds / EVERY_SECONDS))
        ]
        alone = visit()
        over = threading.Event()

        def publish(refs: list[VersionRef] = refs, over: threading.Event = over) -> None:
            for ref in refs:
                publication.answer_with(ref)
                over.wait(EVERY_SECONDS)

        publishing = threading.Thread(target=publish)
        publishing.start()
        beside = visit()
        over.set()
        publishing.join()
        ratios.append(beside.p99 / alone.p99)
        unanswered += beside.unanswered
    return [
        median_at_most("p99 with a delta a second, against without", ratios, 1.5, "×"),
        at_most("failed requests with a delta a second", unanswered, 0, ""),
    ]
