"""Rows of a training table by value: what it is made of, and what a version takes from it.

    snapshot (copies, at the barrier) ──► seal (encode and hash, beside training) ──► files

Both halves of what a version says of a table are here: the rows themselves and the state digest
that follows from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.tables.digest import Hashes, combined, row_hashes
from millstream_core.tables.encoding import encode, stored_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Dtype
    from millstream_core.tables.index import Keys


_PIECE: Final = 1 << 16  # rows encoded at a time

Room = Callable[[int, int, "np.dtype[Any]"], "NDArray[Any]"]  # by rows, width and dtype


def in_memory(rows: int, width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Room for [rows, width] values."""
    return np.empty((rows, width), dtype)


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """One column of a training table and what a new row holds in it."""

    dtype: Dtype  # of live values, so never a quantised one
    width: int
    serve: Dtype | None = None  # how servers read it; None: they do not
    uniform: float = 0.0  # float32 only: new values are drawn from (-uniform, uniform)
    fill: int = 0  # integers only: new values


@dataclass(frozen=True)
class Rows:
    """Some rows of a table by value: what a version's files hold."""

    keys: Keys  # int64[n], each once
    columns: dict[str, NDArray[Any]]  # name -> [n, width]
    gone: Keys = field(default_factory=lambda: np.empty(0, np.int64))  # have no row any more


@dataclass(frozen=True)
class TableSnapshot:
    """Copies of everything a version needs of a table; training goes on meanwhile."""

    specs: Mapping[str, ColumnSpec]
    seed: int
    period: int
    rows: Rows  # the written rows, or all of them for a base; and the keys that left
    total: int  # rows alive
    touched: int  # rows written since the last commit
    hashes_before: Hashes  # of `rows` as last committed; zeros where they were not
    hashes_gone: Hashes  # of `rows.gone` as last committed
    digest_before: str
    room: Room = in_memory  # for what is made of the rows


@dataclass(frozen=True)
class SealedTable:
    """A snapshot with what servers read of it, and the state digest that follows from that.

    Making one costs more than copying did, so it is not done at the barrier.
    """

    snapshot: TableSnapshot
    served: dict[str, NDArray[Any]]  # name -> stored form, see `encoding`
    hashes: Hashes  # of the rows, over the served columns
    digest_after: str


def seal(snapshot: TableSnapshot) -> SealedTable:
    """Encode and hash what servers will read of a snapshot."""
    served = served_columns(snapshot.specs, snapshot.rows.columns, snapshot.room)
    hashes, after = digested(
        snapshot.digest_before,
        snapshot.rows.keys,
        served,
        snapshot.hashes_before,
        snapshot.hashes_gone,
    )
    return SealedTable(snapshot, served, hashes, after)


def served_columns(
    specs: Mapping[str, ColumnSpec], columns: Mapping[str, NDArray[Any]], room: Room = in_memory
) -> dict[str, NDArray[Any]]:
    """What servers read of these rows, name -> stored form, [n, stored width].

    Args:
        specs: by name.
        columns: name -> [n, width], the rows as they are live.
        room: for stored forms that are not the live ones.

    Raises:
        MemoryError: there is none.
    """
    served = {}
    for name, spec in specs.items():
        live = columns[name]
        if spec.serve == spec.dtype:
            served[name] = live
        elif spec.serve is not None:
            dtype, width = stored_form(spec.serve, spec.width)
            served[name] = room(len(live), width, dtype)
            for start in range(0, len(live), _PIECE):
                piece = slice(start, start + _PIECE)
                served[name][piece] = encode(live[piece], spec.serve)
    return served


def digested(
    digest: str, keys: Keys, served: dict[str, NDArray[Any]], before: Hashes, gone: Hashes
) -> tuple[Hashes, str]:
    """The hashes of rows, and the state digest once they have replaced what was before.

    Args:
        digest: the state digest until then.
        keys: int64[n], of the rows.
        served: what servers read of them, name -> [n, stored width].
        before: hashes of the rows as committed last; zeros where they were not.
        gone: hashes of rows that leave without a new one.
    """
    if not served:
        # No server could compare it. The hashes only mark the rows as committed.
        return np.ones((len(keys), 2), np.uint64), digest
    hashes = row_hashes(keys, served)
    return hashes, combined(digest, hashes, np.concatenate([before, gone]))
