"""Products of bfloat16 matrices on the tile unit of x86 processors (AMX), for numba kernels.

A bfloat16 is the upper half of a float32. The unit multiplies a tile of at most 16 rows by 32
depths with one of 32 depths by 16 columns, and adds the result in float32 to a tile of 16 columns:
ten times what the vector unit does in the same time (measured: 6.5 ns for such a product, 2.5
TFLOP/s of a core, where `tiles` reaches 0.1). Intel, Intrinsics Guide, AMX; LLVM's `llvm.x86.t…`.

    float32 ──narrow──► bfloat16 rows ──┐             (see `bfloats`)
    weights ──packed──► tiles ──────────┴─ multiply ──► float32, starting from a matrix or a row

Tiles are configured for a number of rows (`configure`) and let go of at the end (`release`): as
long as a thread has some, each of its turns costs the kernel 8 KB to save. Processors without the
unit, or a kernel that does not lend it, leave `is_available` False, and then nothing here may be
compiled.
"""

from __future__ import annotations

import ctypes
from functools import cache
from itertools import product
from typing import Any, Final

import numpy as np
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba import njit, types
from numba.core.cgutils import unpack_tuple
from numba.extending import intrinsic
from numpy.typing import NDArray

from millstream_serving.engine.llvm import BYTE, INDEX, counted, data_of, instruction, operands_of

Bits = NDArray[np.uint16]  # of bfloat16
Floats = NDArray[np.float32]

ROWS: Final = 16  # of a tile, at most
COLUMNS: Final = 16  # of a tile of sums
DEPTH: Final = 32  # of a tile of factors
TILE_BYTES: Final = 1024

_ARCH_PRCTL: Final = 158  # arch_prctl(2) on x86-64
_REQUEST_PERMISSION: Final = 0x1023  # ARCH_REQ_XCOMP_PERM
_TILE_DATA: Final = 18  # the state component


def is_there() -> bool:
    """Whether this processor multiplies bfloat16 tiles."""
    return bool(get_host_cpu_features().get("amx-bf16"))


@cache
def is_available() -> bool:
    """Whether it does, and the kernel lets this process."""
    if not is_there():
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA)) == 0


@intrinsic
def _load_configuration(_: Any, configuration: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        instruction(builder, "ldtilecfg", data_of(context, builder, signature, args, 0))
        return context.get_dummy_value()

    return types.void(configuration), generate


@intrinsic
def _forget_configuration(_: Any) -> Any:
    def generate(context: Any, builder: Any, __: Any, ___: Any) -> Any:
        instruction(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), generate


@njit(cache=True, nogil=True, error_model="numpy")
def rows_of_tile(count: int) -> int:
    """How high tiles of this many rows, at least one, should be.

    50 are 4 of 13, which wastes less than 4 of 16.
    """
    tiles = -(-count // ROWS)
    return -(-count // tiles)


@njit(cache=True, nogil=True, error_model="numpy")
def configure(configuration: NDArray[np.uint8], rows: int) -> None:
    """Make the tiles ready for products of blocks of this many rows.

    Tiles 0 to 3 hold sums, 4 and 5 rows, 6 and 7 weights.

    Args:
        configuration: uint8[64], written.
        rows: of a tile of sums, 1 to 16.
    """
    configuration[:] = 0
    configuration[0] = 1  # palette
    for tile in range(8):
        configuration[16 + 2 * tile] = 64  # bytes in a row
        configuration[48 + tile] = rows if tile < 6 else ROWS
    _load_configuration(configuration)


@njit(cache=True, nogil=True, error_model="numpy")
def release() -> None:
    """Let go of the tiles."""
    _forget_configuration()


def _multiplying(rows: int, columns: int) -> Any:
    """An intrinsic that makes rows × columns tiles of `out` start + x @ w.

    Each tile of factors that is read takes part in two products, so the unit works more than it
    waits.
    """

    @intrinsic
    def multiply_tiles(_: Any, x: Any, w: Any, start: Any, out: Any, numbers: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            factors, weights, starts, outs, depth, width = operands_of(
                context, builder, signature, args
            )
            height, row, column, stride = unpack_tuple(builder, args[4], 4)
            add, mul = builder.add, builder.mul
            lines = [add(row, mul(height, INDEX(r))) for r in range(rows)]
            sides = [add(column, INDEX(COLUMNS * c)) for c in range(columns)]

            def move_sums(name: str, matrix: Any, stride: Any) -> None:
                for r, line in enumerate(lines):
                    for c, side in enumerate(sides):
                        place = add(mul(line, stride), mul(side, INDEX(4)))
                        _move(builder, name, 2 * r + c, matrix, place, stride)

            move_sums("tileloadd64", starts, stride)
            line_bytes = mul(depth, INDEX(2))
            with counted(builder, builder.udiv(depth, INDEX(DEPTH))) as step:
                for r, line in enumerate(lines):
                    place = add(mul(line, line_bytes), mul(step, INDEX(2 * DEPTH)))
                    _move(builder, "tileloadd64", 4 + r, factors, place, line_bytes)
                for c, side in enumerate(sides):
                    place = mul(add(mul(step, width), side), INDEX(TILE_BYTES // COLUMNS))
                    _move(builder, "tileloadd64", 6 + c, weights, place, INDEX(4 * COLUMNS))
                for r, c in product(range(rows), range(columns)):
                    tiles = (BYTE(2 * r + c), BYTE(4 + r), BYTE(6 + c))
                    instruction(builder, "tdpbf16ps", *tiles)
            move_sums("tilestored64", outs, mul(width, INDEX(4)))
            return context.get_dummy_value()

        return types.void(x, w, start, out, numbers), generate

    return multiply_tiles


def _move(builder: Any, name: str, tile: int, matrix: Any, place: Any, stride: Any) -> None:
    """Load or store a tile, its first line at this byte of a matrix."""
    instruction(builder, name, BYTE(tile), builder.gep(matrix, [place]), stride)


_two_by_two, _two_by_one = _multiplying(2, 2), _multiplying(2, 1)
_one_by_two, _one_by_one = _multiplying(1, 2), _multiplying(1, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(
    x: Bits, w: Bits, start: Floats, stride: int, out: Floats, tiles: int, rows: int
) -> None:
    """out[: tiles · rows] = start + x[: tiles · rows] @ w, after `configure`.

    Args:
        x: bfloat16[>= tiles · rows, depth], C-contiguous, depth a multiple of 32.
        w: bfloat16 tiles, see `bfloats.packed`.
        start: float32[>= tiles · rows, width], or one row of it, or fewer where stride is 0.
        stride: bytes from one row of `start` to the next: 4 · width, or 0.
        out: float32[>= tiles · rows, width], C-contiguous, width a multiple of 16.
        tiles: how many tiles high x is.
        rows: of a tile, as configured.
    """
    width = out.shape[1]
    even, wide = tiles - tiles % 2, width - width % (2 * COLUMNS)
    for tile in range(0, even, 2):
        for column in range(0, wide, 2 * COLUMNS):
            _two_by_two(x, w, start, out, (rows, tile * rows, column, stride))
        if wide < width:
            _two_by_one(x, w, start, out, (rows, tile * rows, wide, stride))
    if even < tiles:
        for column in range(0, wide, 2 * COLUMNS):
            _one_by_two(x, w, start, out, (rows, even * rows, column, stride))
        if wide < width:
            _one_by_one(x, w, start, out, (rows, even * rows, wide, stride))
