"""The census of what a version remembers of keys without a row, see `tables.admission`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_core.census.bins import log2_bins
from millstream_core.census.documents import Waiting
from millstream_core.tables.usage import FREQUENCY, ONE, USAGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.snapshots import Rows

_SKETCH: Final = re.compile(r"sketch-(\d+)x(\d+)(-.+)?")


def count_waiting(memory: str, rows: Rows) -> Waiting:
    """Count what one way of admission remembers.

    Args:
        memory: its name, as `Admission.memory` gives it.
        rows: all of them; of a sketch each is a counter.
    """
    size = rows.keys.nbytes + sum(column.nbytes for column in rows.columns.values())
    if USAGE in rows.columns:
        occurrences = rows.columns[USAGE][:, FREQUENCY] / ONE
        return Waiting(
            memory=memory,
            bytes=size,
            keys=len(rows.keys),
            occurrences=log2_bins(occurrences, 1.0),
        )
    sketch = _SKETCH.fullmatch(memory)
    if sketch is None:
        return Waiting(memory=memory, bytes=size)
    depth, width = int(sketch[1]), int(sketch[2])
    occupied = rows.keys[rows.columns["count"][:, 0] > 0]
    return Waiting(
        memory=memory,
        bytes=size,
        counters=depth * width,
        occupied=len(occupied),
        keys_counted=_keys_counted(np.bincount(occupied // width, minlength=depth), width),
    )


def _keys_counted(occupied: NDArray[np.int64], width: int) -> float | None:
    """About how many different keys occupy so many of `width` counters, the mean of all rows.

    Linear counting (Whang, Vander-Zanden and Taylor, A Linear-Time Probabilistic Counting
    Algorithm for Database Applications, TODS 1990): of `width` counters n keys leave the share
    e^(−n / width) free. It holds for conservative updates too, which raise every free counter.
    """
    free = 1 - occupied / width
    if not free.all():
        return None
    return float(width * np.log(1 / free).mean())
