"""Rows of embeddings where they are stored, read by scoring kernels as float32.

    slot ≥ 0 ──────────────► stored row ──decode──► float32
    slot < 0 ──shared row?──►──┘
             └─drawn by key, or zeros ─────────────► float32

All forms of `millstream_core.tables.encoding` and all default rows of
`millstream_core.tables.defaults` are told apart inside the kernel, by values and not by types: a
kernel is compiled once, whatever a version brings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from millstream_core.features import PAD
from millstream_core.tables.defaults import draw_row
from millstream_core.tables.encoding import TAIL

if TYPE_CHECKING:
    from millstream_api.manifest import DefaultRow, Dtype, MultiHash
    from millstream_core.tables.versioned import TableVersion

Keys = NDArray[np.int64]
Slots = NDArray[np.int32]

_FLOATS: Final = 0
_HALVES: Final = 1
_LEVELS: Final = 2
_EIGHT: Final = np.uint16(8)


class StoredRows(NamedTuple):
    """The storage of a table's rows and what is read where it holds none; d values in a row."""

    form: np.int64  # which of the three is filled, the other two are empty
    floats: NDArray[np.float32]  # [slots, d]
    halves: NDArray[np.uint16]  # [slots, d], the bits of float16
    levels: NDArray[np.uint8]  # [slots, d + 4], see `encoding`
    shared: np.int64  # slot that keys without a row read; -1: none
    seed: np.uint64  # of rows drawn for keys without one
    spread: np.float32  # of such rows; 0: they read as zeros
    parts: np.int64  # rows whose sum a key reads as; 1: its own


def stored_rows(
    values: NDArray[Any],
    dtype: Dtype,
    default: DefaultRow,
    shared: int = -1,
    multi_hash: MultiHash | None = None,
) -> StoredRows:
    """Rows in this storage.

    Args:
        values: [slots, stored width], see `encoding.stored_form`.
        dtype: of the stored form.
        default: what keys without a row read as.
        shared: with SharedOov, the slot of the shared row; -1 where there is none.
        multi_hash: how keys become those of rows; None: they are.
    """
    empty = np.empty((0, 0), np.uint8)
    is_drawn = default.policy == "HashInit"
    return StoredRows(
        form=np.int64({"float32": _FLOATS, "float16": _HALVES, "int8rows": _LEVELS}[dtype]),
        floats=values if dtype == "float32" else empty.view(np.float32),
        halves=values.view(np.uint16) if dtype == "float16" else empty.view(np.uint16),
        levels=values if dtype == "int8rows" else empty,
        shared=np.int64(shared if default.policy == "SharedOov" else -1),
        seed=np.uint64(default.seed),
        spread=np.float32(default.spread if is_drawn else 0.0),
        parts=np.int64(multi_hash.tables if multi_hash else 1),
    )


def rows_of(
    version: TableVersion, default: DefaultRow, multi_hash: MultiHash | None = None
) -> StoredRows:
    """The rows of one version of a table."""
    table = version.table
    return stored_rows(
        table.values("rows"),
        table.columns["rows"].dtype,
        default,
        shared=int(version.slots(np.array([PAD], np.int64))[0]),
        multi_hash=multi_hash,
    )


@intrinsic
def _as_float(_: Any, bits: Any) -> Any:  # noqa: ARG001 - numba reads the signature
    """float32 of the bits of a float16, by the processor's own instruction.

    numba has no float16 on CPUs. Of 64 values a row took 24 ns this way, 39 by integer arithmetic
    and 104 by a table of all 65,536 values.
    """

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _half_at(row: NDArray[np.uint8], place: int) -> np.float32:
    """The little-endian float16 at this byte of a row."""
    value: np.float32 = _as_float(np.uint16(row[place] | (np.uint16(row[place + 1]) << _EIGHT)))
    return value


@njit(cache=True, nogil=True, error_model="numpy")
def gather(
    rows: StoredRows, keys: Keys, slots: Slots, start: int, count: int, out: NDArray[np.float32]
) -> None:
    """out[:count] = what keys start … start + count read as; P rows each, added up in order.

    Args:
        rows: of one version; P is its `parts`.
        keys: int64[n · P], of rows.
        slots: int32[n · P], where they are; negative: there is none.
        start: first key.
        count: number of keys.
        out: float32[>= count, d], written.
    """
    if rows.parts == 1:
        _gather_rows(rows, keys, slots, start, count, out)
        return
    part = np.empty((1, out.shape[1]), np.float32)
    for i in range(count):
        first = (start + i) * rows.parts
        _gather_rows(rows, keys, slots, first, 1, out[i : i + 1])
        for place in range(first + 1, first + rows.parts):
            _gather_rows(rows, keys, slots, place, 1, part)
            for j in range(out.shape[1]):
                out[i, j] += part[0, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _gather_rows(
    rows: StoredRows, keys: Keys, slots: Slots, start: int, count: int, out: NDArray[np.float32]
) -> None:
    """Rows as they are, to the bit as `encoding.decode`."""
    width = out.shape[1]
    for i in range(count):
        slot = np.int64(slots[start + i])
        if slot < 0:
            slot = rows.shared
        if slot < 0:
            if rows.spread > 0:
                draw_row(out[i], keys[start + i], rows.seed, rows.spread)
            else:
                out[i, :] = np.float32(0.0)
        elif rows.form == _FLOATS:
            out[i, :] = rows.floats[slot, :]
        elif rows.form == _HALVES:
            for j in range(width):
                out[i, j] = _as_float(rows.halves[slot, j])
        else:
            step = _half_at(rows.levels[slot], width)
            smallest = _half_at(rows.levels[slot], width + TAIL // 2)
            for j in range(width):
                out[i, j] = np.float32(rows.levels[slot, j]) * step + smallest
