"""What a server may recommend from: the items clicked most lately and the items seen first lately.

Popularity decays with event time, so a replay arrives at the same ranking. It is kept forward
(Cormode et al., ICDE 2009): a click at time t adds 2^((t − landmark) / half-life), and nothing
has to be aged until the landmark moves, by a power of two that rounds nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.features import PAD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from millstream_trainer.sources.decoding import EventBatch

POPULAR: Final = 200
NEWEST: Final = 50
HALF_LIFE_SECONDS: Final = 600.0
COUNTED: Final = 4096  # items that popularity is kept for, once there are four times as many
RESCALE_AT: Final = 64  # half-lives from the landmark


class Candidates:
    """Decayed click counts and the newest items; bounded whatever the stream brings."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self._weights: dict[int, float] = {}
        self._landmark = 0.0
        self._newest: deque[int] = deque(maxlen=NEWEST)  # oldest first

    def observe(self, batch: EventBatch, new_items: NDArray[np.int64]) -> None:
        """Count the clicks of a batch and note items that were never seen before."""
        self._newest.extend(new_items.tolist())
        is_click = (batch.label > 0) & (batch.item != PAD)
        if not is_click.any():
            return
        self._move_landmark(float(batch.time[is_click].max()))
        gains = np.exp2((batch.time[is_click] - self._landmark) / HALF_LIFE_SECONDS)
        for item, gain in zip(batch.item[is_click].tolist(), gains.tolist(), strict=True):
            self._weights[item] = self._weights.get(item, 0.0) + gain
        if len(self._weights) > 4 * COUNTED:
            kept, weights = self._ranking(COUNTED)
            self._weights = dict(zip(kept.tolist(), weights.tolist(), strict=True))

    def forget(self, is_erased: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> None:
        """Drop the items of which this is true."""
        items = np.fromiter(self._weights.keys(), np.int64, len(self._weights))
        for item in items[is_erased(items)].tolist():
            del self._weights[item]
        newest = np.array(self._newest, np.int64)
        self._newest = deque(newest[~is_erased(newest)].tolist(), maxlen=NEWEST)

    def popular(self) -> NDArray[np.int64]:
        """At most POPULAR item keys, most clicked lately first."""
        return self._ranking(POPULAR)[0]

    def newest(self) -> NDArray[np.int64]:
        """At most NEWEST item keys, newest first."""
        return np.array(list(reversed(self._newest)), np.int64)

    def state(self) -> dict[str, NDArray[Any]]:
        """What `restore` needs to continue exactly here."""
        items, weights = self._ranking(len(self._weights))
        return {
            "popularity.items": items,
            "popularity.weights": weights,
            "popularity.landmark": np.array([self._landmark]),
            "newest.items": np.array(self._newest, np.int64),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue where another left off."""
        items, weights = state["popularity.items"], state["popularity.weights"]
        self._weights = dict(zip(items.tolist(), weights.tolist(), strict=True))
        self._landmark = float(state["popularity.landmark"][0])
        self._newest = deque(state["newest.items"].tolist(), maxlen=NEWEST)

    def _ranking(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        items = np.fromiter(self._weights.keys(), np.int64, len(self._weights))
        weights = np.fromiter(self._weights.values(), np.float64, len(self._weights))
        order = np.lexsort((items, -weights))[:count]  # ties by key: the same on every replay
        return items[order], weights[order]

    def _move_landmark(self, time: float) -> None:
        if not self._weights:
            self._landmark = time
        steps = int((time - self._landmark) / HALF_LIFE_SECONDS) // RESCALE_AT * RESCALE_AT
        if steps > 0:
            self._landmark += steps * HALF_LIFE_SECONDS
            aged = {item: weight * 2.0**-steps for item, weight in self._weights.items()}
            self._weights = {item: weight for item, weight in aged.items() if weight > 0}
