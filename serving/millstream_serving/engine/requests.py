"""A request as networks score it: which rows it reads, and what they read of its context."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from millstream_serving.engine.layouts import Matrix
    from millstream_serving.engine.rows import StoredRows

Keys = NDArray[np.int64]
Slots = NDArray[np.int32]


class Lookup(NamedTuple):
    """Some keys of a table, and where their rows are; P keys of rows for one of these, see rows."""

    rows: StoredRows
    keys: Keys  # [n · P], of rows
    slots: Slots  # [n · P], negative: there is none


class Request(NamedTuple):
    """All that the scores of one user's candidates depend on, apart from the weights."""

    user: Lookup  # one
    items: Lookup  # N candidates
    history: Lookup  # T <= L items, oldest first, without filler
    context: Matrix  # [1, E]
