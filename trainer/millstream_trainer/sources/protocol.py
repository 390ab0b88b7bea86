"""What the training loop asks of a stream, and how a stream is cut into batches.

    stream ──poll──► records ──decode──► EventBatch ──► score, learn

Exactly-once training rests on two promises made here. Positions name the next record to read and
travel in the manifest of every version, so a restart continues where the restored state ends.
And a cut between two batches depends on the records alone, never on when they were polled, so a
replay forms the same batches and arrives at the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Record = dict[str, Any]

# Events of different windows never share a batch: at a trickle of events this bounds how long
# the first waits for company, at a flood batches are full anyway.
WINDOW_SECONDS: Final = 0.25


@dataclass(frozen=True)
class Polled:
    """One batch worth of records, or none because the next batch is not complete yet."""

    records: Sequence[Mapping[str, Any]]
    positions: dict[str, int] = field(default_factory=dict)  # after these records, by partition
    lag_seconds: float = 0.0  # age of the oldest record that is due, 0 when there is none


class Source(Protocol):
    """A replayable stream of records.

    A record is a mapping with user_id and item_id (int or str), label (0 or 1: a click) and
    event_time (Unix seconds at which it happens in the replay). It may have a conversion (0 or 1,
    0 where there is none; only with a click), and a context, an object of texts and numbers that
    describe the event. Anything may be in it nonetheless: `decode` sorts that out.
    """

    def poll(self, limit: int, now: float) -> Polled:
        """The next batch and the positions after it.

        Polling moves the source on. At the end of a finite stream there is never a batch again.

        Args:
            limit: the most records wanted.
            now: Unix seconds; later records have not happened yet.
        """

    def seek(self, positions: Mapping[str, int]) -> None:
        """Continue at these positions; partitions not named start at their beginning.

        Raises:
            ValueError: a position that this source cannot have given out.
        """


def batch_end(times: NDArray[np.float64], limit: int, now: float) -> int:
    """How many of the next records form a batch; 0 while it is not complete.

    A batch is full, or its window has passed.

    Args:
        times: float64[n], when the next records happen, ascending; all that are due and, where
            more than `limit` are, at least `limit` of them.
        limit: the most records in a batch.
        now: Unix seconds.
    """
    if len(times) == 0 or times[0] > now:
        return 0
    window_end = (np.floor(times[0] / WINDOW_SECONDS) + 1) * WINDOW_SECONDS
    end = int(np.searchsorted(times[:limit], min(window_end, np.nextafter(now, np.inf)), "left"))
    return end if end == limit or now >= window_end else 0
