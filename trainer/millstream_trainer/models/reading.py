"""Rows read for a step: live where a key has one, else what a server would read for it.

The default row is part of the model (`millstream_core.tables.defaults`): training on anything
else than what is served would teach the dense weights a row that nobody will ever see. So the
shared row goes through its stored form here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_core.features import PAD
from millstream_core.tables.defaults import draw_rows
from millstream_core.tables.encoding import decode, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.manifest import DefaultRow
    from millstream_core.tables.slots import Slots
    from millstream_core.tables.training import TrainingTable


def read_rows(
    table: TrainingTable,
    default: DefaultRow,
    keys: NDArray[np.int64],
    slots: Slots,
    rows: NDArray[np.float32],
) -> None:
    """Read the rows of these keys.

    Args:
        table: of embeddings.
        default: what keys without a row read as.
        keys: int64[n].
        slots: int32[n], where their rows are; -1 where they have none.
        rows: float32[n, d], written.
    """
    np.take(table.values("rows"), slots, axis=0, out=rows, mode="clip")
    is_unknown = slots < 0
    if default.policy == "HashInit":
        places = np.flatnonzero(is_unknown).astype(np.int32)
        seed, spread = np.uint64(default.seed), np.float32(default.spread)
        draw_rows(rows, places, keys[places], seed, spread)
    elif default.policy == "SharedOov":
        rows[is_unknown] = _shared_row(table)
    else:
        rows[is_unknown] = 0


def _shared_row(table: TrainingTable) -> NDArray[np.float32]:
    """float32[d], as a server decodes it; zeros while there is none."""
    [slot] = table.slots(np.array([PAD], np.int64))
    spec = table.columns["rows"]
    assert spec.serve is not None
    if slot < 0:
        return np.zeros(spec.width, np.float32)
    shared: NDArray[np.float32] = decode(
        encode(table.values("rows")[slot : slot + 1], spec.serve), spec.serve
    )[0]
    return shared
