"""What it is worth that a version remembers what it has recommended.

One server under one load, in turns: users who come by a Zipf law, and as many who come once each,
to whom nothing that is remembered is of use. Each turn begins with a version that has answered
nobody, as every version does; the longer it lives, the more of its users come again.
"""

from __future__ import annotations

import re
import time
import urllib.request
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from bench.measuring import Turns, beside, spread, times_faster
from bench.serving.asking import answer_of
from bench.serving.closed_loop import ask, write_script
from bench.serving.load import CONNECTIONS
from bench.serving.servers import millstream, published
from bench.serving.workload import EXPONENT, LARGEST, Request, Sizes, Zipf
from demo.report import Row, at_most

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.serving.processes import Server
    from bench.serving.servers import Publication

USERS: Final = 100_000
SIZES: Final = Sizes(users=USERS, items=USERS, visitors=USERS)
SECONDS: Final = 10  # that a version lives
CHANGED: Final = 100  # items of the next one
DEADLINE_SECONDS: Final = 30.0
ONCE: Final = "users who come once"


@dataclass(frozen=True)
class Turn:
    """What one version came to."""

    seconds: float  # of the clock, a recommendation
    processor: float  # seconds a recommendation
    remembered: float  # share of the recommendations
    failed: int


def remembered_rows(folder: Path, runs: int) -> list[Row]:
    """Recommendations a second, what one takes, and how many were remembered.

    Args:
        folder: for the store and for what wrk reads.
        runs: turns of both sides.
    """
    draw = np.random.default_rng(8)
    zipf = Zipf(USERS, draw)
    with published(folder, SIZES) as publication, millstream(publication, threads=2) as server:
        _turn(publication, server, range(USERS))  # warm
        found = [
            (
                _turn(publication, server, zipf.ids(USERS)),
                _turn(publication, server, draw.permutation(USERS).tolist()),
            )
            for _ in range(runs)
        ]
    again, once = zip(*found, strict=True)
    assert not any(turn.remembered for turn in once)
    clock, spent = (
        Turns([getattr(turn, what) for turn in again], [getattr(turn, what) for turn in once])
        for what in ("seconds", "processor")
    )
    shares = [turn.remembered for turn in again]
    speed = 1 / median(clock.ours)
    what = f"recommendations a second, {USERS:,} users by Zipf {EXPONENT:g}"
    return [
        times_faster(what, clock, None, ONCE, speed, "/s"),
        beside("processor time of a recommendation", spent, ONCE, 1e6, "µs"),
        Row(
            what=f"recommendations that a version of {SECONDS} s remembered",
            value=median(shares),
            unit="",
            bar=f"({spread(shares)} here)",
            runs=runs,
        ),
        at_most("failed recommendations", sum(turn.failed for turn in again + once), 0, ""),
    ]


def _turn(publication: Publication, server: Server, users: Iterable[int]) -> Turn:
    """A new version recommends to these users as fast as it can."""
    _renew(publication, server)
    paths = (f"/recommend/{user}?k={LARGEST}".encode() for user in users)
    script = write_script(publication.folder, paths, "GET")
    hits, misses, used = *_counts(server), server.processor_seconds()
    found = ask(server.url, script, connections=CONNECTIONS, seconds=SECONDS)
    used = server.processor_seconds() - used
    more_hits, more_misses = _counts(server)
    return Turn(
        seconds=1 / found.per_second,
        processor=used / (found.per_second * SECONDS),
        remembered=(more_hits - hits) / (more_hits - hits + more_misses - misses),
        failed=found.failed,
    )


def _renew(publication: Publication, server: Server) -> None:
    """Have everybody answered by a version that has answered nobody."""
    publisher = publication.publisher
    ref = publisher.commit(publisher.delta(CHANGED))
    publication.answer_with(ref)
    question, deadline = Request(0, [1], [2]), time.monotonic() + DEADLINE_SECONDS
    while answer_of(server, question)["version"] != ref.version:
        if time.monotonic() > deadline:
            raise RuntimeError(f"version {ref.version} does not answer")


def _counts(server: Server) -> tuple[float, float]:
    """Recommendations so far that were remembered, and that were not."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:  # noqa: S310
        text = answer.read().decode()
    found = dict(re.findall(r'_recommendations_total\{remembered="(yes|no)"\} (\S+)', text))
    return float(found["yes"]), float(found["no"])
