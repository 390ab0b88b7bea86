"""Whether a network in reduced precision ranks as it does in float32, on its own version's rows.

    version ──made-up requests──► both networks ──► Agreement ──► answer with which?

Requests are deterministic: users and items that lie evenly among the keys of the version, so that
rows of all ages take part, and the users' own histories, or where they have none some of the items.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_serving.engine.best import probabilities
from millstream_serving.engine.versions import ScratchPad

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from millstream_serving.engine.architectures import Network
    from millstream_serving.engine.versions import ModelVersion

log = logging.getLogger(__name__)

REQUESTS: Final = 32
CANDIDATES: Final = 100
BEST: Final = 10  # of them, as a page shows
LEAST_SHARED: Final = 0.99  # of the best, below which a version stays with float32


@dataclass(frozen=True)
class Agreement:
    """How far two networks agree on the same requests."""

    requests: int
    shared: float  # of the ten best of each request, the share that both name
    error: float  # the largest difference of two probabilities

    def is_enough(self) -> bool:
        """Whether users would not see which of the two answered."""
        return self.shared >= LEAST_SHARED


def in_reduced_precision(version: ModelVersion, rest: Callable[[], None]) -> ModelVersion:
    """A version as it may answer: in reduced precision where that ranks as float32 does.

    Args:
        version: that answers in float32; returned itself where there is nothing else.
        rest: called between pieces of work.
    """
    network = version.network.reduced()
    if network is None:
        return version
    agreement = compare(version, network, rest)
    if agreement.is_enough():
        return replace(version, network=network, precision="BFloat16", agreement=agreement)
    log.warning(
        "version %d answers in float32: reduced precision shares %.4f of the ten best in %d "
        "requests, %.2f are asked for; the largest difference of two scores is %.2g",
        version.ref.version,
        agreement.shared,
        agreement.requests,
        LEAST_SHARED,
        agreement.error,
    )
    return replace(version, agreement=agreement)


def compare(version: ModelVersion, network: Network, rest: Callable[[], None]) -> Agreement:
    """Ask a version with its own network and with another one.

    Args:
        version: of which users and items are asked for.
        network: the other.
        rest: called after each request.
    """
    other = replace(version, network=network)
    pads = ScratchPad(), ScratchPad()
    items = _evenly(version, "item", CANDIDATES)
    if len(items) < 2:
        return Agreement(0, 0.0, 0.0)
    users = _evenly(version, "user", REQUESTS).tolist() or [None]
    best = min(BEST, len(items) - 1)  # all of them would be shared by anybody
    shared, error = 0, 0.0
    for number in range(REQUESTS):
        user = users[number % len(users)]
        history = np.empty(0, np.int64) if user is None else version.history_of(user)
        if not len(history):
            history = np.roll(items, number)[: len(items) // 2]
        ours, theirs = (
            each.logits(user, items, history, pad)
            for each, pad in zip((version, other), pads, strict=True)
        )
        if np.isfinite(theirs).all():
            shared += len(_best(ours, best) & _best(theirs, best))
            error = max(error, float(np.abs(probabilities(ours) - probabilities(theirs)).max()))
        else:
            error = 1.0
        rest()
    return Agreement(REQUESTS, shared / (best * REQUESTS), error)


def _best(logits: NDArray[np.float32], count: int) -> set[int]:
    return set(np.argsort(-logits, kind="stable")[:count].tolist())


def _evenly(version: ModelVersion, table: str, count: int) -> NDArray[np.int64]:
    """Keys of a table that have a row, int64[<= count]."""
    rows = version.tables[table]
    keys = rows.index.keys()
    # Twice as many: some may have gone. In one piece, for which the kernels are compiled already.
    some = keys[:: max(1, len(keys) // (2 * count))].copy()
    alive = some[rows.slots(some) >= 0]
    return alive[:: max(1, len(alive) // count)][:count].copy()
