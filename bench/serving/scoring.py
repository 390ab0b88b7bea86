"""What the model alone takes for a request, on one core: ours beside torch, without any server.

And what a request takes outside of it: all processor time of a server whose model is as good as
nothing, while it answers requests of the usual size.
"""

from __future__ import annotations

import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from bench.measuring import fraction_of, in_turns, median_at_most
from bench.serving.load import Load
from bench.serving.servers import PEERS, millstream, published
from bench.serving.workload import Sizes, draw_requests
from millstream_serving.engine.agreement import in_reduced_precision
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.serving.servers import Publication
    from bench.serving.workload import Request
    from demo.report import Row
    from millstream_serving.engine.versions import ModelVersion

REQUESTS: Final = 300  # in a round
TINY: Final = Sizes(users=10_000, items=10_000, width=8, attention=(4, 4), head=(4, 4))


def model_rows(
    publication: Publication, model: Path, requests: list[Request], runs: int
) -> list[Row]:
    """Rows gathered and scored by one thread, against eager torch with the same weights.

    Args:
        publication: of the model.
        model: the same as the peers read it.
        requests: that are scored.
        runs: rounds.
    """
    torch.set_num_threads(1)
    theirs, exact = _eager(model), _version(publication)
    reduced = in_reduced_precision(exact, lambda: None)
    ask = _timed(lambda each: theirs.rank(each.user, each.items, each.history, 10), requests)
    rows = []
    bars = {"Float32": 3, "BFloat16": 6}
    # Where a processor has nothing else, both are the same.
    for version in dict.fromkeys((exact, reduced)):
        turns = in_turns(_timed(_scorer(version), requests), ask, runs=runs)
        what = f"model time of a request, one core, {version.precision}"
        rows.append(fraction_of(what, turns, bars[version.precision], "eager torch"))
    return rows


def outside_row(folder: Path, runs: int) -> Row:
    """Processor time of a request outside the model, in µs."""
    requests = draw_requests(TINY, REQUESTS)
    load = Load(folder, requests)
    with published(folder / "tiny", TINY) as publication:
        score = _scorer(_version(publication))
        scoring = [_timed(score, requests)() for _ in range(runs)]
        with millstream(publication, threads=2) as server:
            load.most(server)  # warm
            del load.processor[server.name][:]
            for _ in range(runs):
                load.most(server)
    spent = load.processor[server.name]
    outside = [(of_all - of_it) * 1e6 for of_all, of_it in zip(spent, scoring, strict=True)]
    return median_at_most("processor time of a request outside the model", outside, 60, "µs")


def _timed(work: Callable[[Request], object], requests: Sequence[Request]) -> Callable[[], float]:
    """Processor seconds of this thread for one of the requests, each time the next ones."""
    ahead: Iterator[Request] = cycle(requests)

    def take() -> float:
        some = list(islice(ahead, REQUESTS))
        began = time.thread_time()
        for each in some:
            work(each)
        return (time.thread_time() - began) / len(some)

    take()  # warm
    return take


def _scorer(version: ModelVersion) -> Callable[[Request], object]:
    pad = ScratchPad()

    def score(request: Request) -> object:
        items, history = np.array(request.items), np.array(request.history)
        return version.logits(request.user, items, history, pad)

    return score


def _version(publication: Publication) -> ModelVersion:
    held: list[ModelVersion] = []
    with ThreadPoolExecutor(8) as pool:
        shelf = Shelf(publication.publisher.store, pool)
        shelf.load(publication.base, lambda _: True, held.append)
    return held[-1]


def _eager(model: Path) -> Any:
    """The peers' own program, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("ranker", PEERS / "ranker.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    return program.Ranker(model, is_factored=False)
