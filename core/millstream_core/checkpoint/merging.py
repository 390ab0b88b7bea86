"""Several versions' rows of one table as one: what the last version says of a key holds.

A tombstone ends the rows before it, a row ends the tombstones before it. Applying the result is
the same as applying the parts in turn, so a reader that is many versions behind, or has nothing
at all, fetches each row once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_core.checkpoint.files import TableRows

if TYPE_CHECKING:
    from collections.abc import Sequence

_GONE: Final = -1


def merged(parts: Sequence[TableRows]) -> TableRows:
    """The rows and tombstones that all parts come to.

    Args:
        parts: oldest first, all with the same columns.
    """
    # Within one version a key that left and came back is there: tombstones come before rows.
    keys = np.concatenate([array for part in parts for array in (part.gone, part.keys)])
    part_of = np.concatenate(
        [np.full(len(part.gone) + len(part.keys), i, np.int32) for i, part in enumerate(parts)]
    )
    row_of = np.concatenate(
        [
            array
            for part in parts
            for array in (np.full(len(part.gone), _GONE), np.arange(len(part.keys)))
        ]
    )
    order = np.argsort(keys, kind="stable")
    is_last = np.ones(len(order), np.bool_)
    is_last[:-1] = keys[order][1:] != keys[order][:-1]
    last = order[is_last]
    rows, gone = last[row_of[last] != _GONE], last[row_of[last] == _GONE]
    columns = {}
    for name, first in parts[0].columns.items():
        column = np.empty((len(rows), first.shape[1]), first.dtype)
        for i, part in enumerate(parts):
            mine = part_of[rows] == i
            column[mine] = part.columns[name][row_of[rows[mine]]]
        columns[name] = column
    return TableRows(keys[rows], columns, keys[gone])
