"""Products of bfloat16 matrices on the vector unit of x86 processors (AVX-512 BF16), for kernels.

One instruction multiplies pairs of neighbouring depths, one of a row with those of 16 columns, and
adds both products to 16 sums in float32: twice what the unit does in float32 (measured on Zen 4:
0.21 TFLOP/s of a core, where `tiles` reaches 0.11; the units alone do 0.235 and 0.118). Intel,
Intrinsics Guide, VDPBF16PS; LLVM's `llvm.x86.avx512bf16.dpbf16ps.512`.

The same functions as in `amx`, of the same matrices, for processors without that. The sums of a
block of rows by columns stay in registers, as in `tiles`.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba import njit, types
from numba.core.cgutils import unpack_tuple
from numba.extending import intrinsic

from millstream_serving.engine.amx import COLUMNS, DEPTH, TILE_BYTES
from millstream_serving.engine.llvm import BFLOAT, INDEX, counted, instruction, operands_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from millstream_serving.engine.amx import Bits, Floats

ROWS: Final = 5  # times two vectors of sums: 10 of the 32 registers, enough to hide their latency
PAIRS: Final = DEPTH // 2  # lines of a tile of weights

_MULTIPLY: Final = "avx512bf16.dpbf16ps.512"
_INT: Final = ir.IntType(32)  # a pair
_INTS: Final = ir.VectorType(_INT, COLUMNS)
_SUMS: Final = ir.VectorType(ir.FloatType(), COLUMNS)
_BFLOATS: Final = ir.VectorType(BFLOAT, 2 * COLUMNS)


def is_available() -> bool:
    """Whether this processor multiplies vectors of bfloat16."""
    return bool(get_host_cpu_features().get("avx512bf16"))


@njit(cache=True, nogil=True, error_model="numpy")
def rows_of_tile(count: int) -> int:  # noqa: ARG001 - in `amx` it depends on it
    """How many rows of these to multiply at a time."""
    return ROWS


@njit(cache=True, nogil=True, error_model="numpy")
def configure(configuration: NDArray[np.uint8], rows: int) -> None:
    """Nothing: registers are always ready."""


@njit(cache=True, nogil=True, error_model="numpy")
def release() -> None:
    """Nothing."""


def _multiplying(vectors: int) -> Any:
    """An intrinsic that makes 5 rows by so many vectors of `out` start + x @ w."""

    @intrinsic
    def multiply_block(_: Any, x: Any, w: Any, start: Any, out: Any, numbers: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            factors, weights, starts, outs, depth, width = operands_of(
                context, builder, signature, args
            )
            row, column, stride = unpack_tuple(builder, args[4], 3)
            add, mul = builder.add, builder.mul
            lines = [add(row, INDEX(r)) for r in range(ROWS)]
            sides = [add(column, INDEX(COLUMNS * v)) for v in range(vectors)]
            block = list(product(range(ROWS), range(vectors)))

            def places(matrix: Any, stride: Any) -> list[Any]:
                """Where the vectors of the block are in a matrix of float32."""
                offsets = [add(mul(lines[r], stride), mul(sides[v], INDEX(4))) for r, v in block]
                return [_as(builder, matrix, offset, _SUMS) for offset in offsets]

            begun = [builder.load(place, align=4) for place in places(starts, stride)]
            inputs = [builder.gep(factors, [mul(line, mul(depth, INDEX(2)))]) for line in lines]
            before = builder.block
            with counted(builder, builder.udiv(depth, INDEX(DEPTH))) as step:
                so_far = [builder.phi(_SUMS) for _ in block]
                sums = list(so_far)
                tiles = [
                    mul(add(mul(step, width), side), INDEX(TILE_BYTES // COLUMNS)) for side in sides
                ]
                for pair in range(PAIRS):
                    line = [
                        _load(builder, weights, add(tile, INDEX(pair * 4 * COLUMNS)), _BFLOATS)
                        for tile in tiles
                    ]
                    at = add(mul(step, INDEX(2 * DEPTH)), INDEX(4 * pair))
                    values = [_to_all(builder, _load(builder, each, at, _INT)) for each in inputs]
                    sums = [
                        instruction(builder, _MULTIPLY, total, line[v], values[r], result=_SUMS)
                        for (r, v), total in zip(block, sums, strict=True)
                    ]
                for phi, first, total in zip(so_far, begun, sums, strict=True):
                    phi.add_incoming(first, before)
                    phi.add_incoming(total, builder.block)
            for place, total in zip(places(outs, mul(width, INDEX(4))), sums, strict=True):
                builder.store(total, place, align=4)
            return context.get_dummy_value()

        return types.void(x, w, start, out, numbers), generate

    return multiply_block


def _as(builder: Any, matrix: Any, offset: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(matrix, [offset]), kind.as_pointer())


def _load(builder: Any, matrix: Any, offset: Any, kind: Any) -> Any:
    return builder.load(_as(builder, matrix, offset, kind), align=4)


def _to_all(builder: Any, pair: Any) -> Any:
    """A vector that has this pair everywhere."""
    undefined = ir.Constant(_INTS, ir.Undefined)
    first = builder.insert_element(undefined, pair, _INT(0))
    everywhere = builder.shuffle_vector(first, undefined, ir.Constant(_INTS, [0] * COLUMNS))
    return builder.bitcast(everywhere, _BFLOATS)


_wide, _narrow = _multiplying(2), _multiplying(1)


@njit(cache=True, nogil=True, error_model="numpy")
def multiply(
    x: Bits, w: Bits, start: Floats, stride: int, out: Floats, tiles: int, rows: int
) -> None:
    """As `amx.multiply`, with tiles of 5 rows."""
    width = out.shape[1]
    wide = width - width % (2 * COLUMNS)
    for column in range(0, wide, 2 * COLUMNS):
        for row in range(0, tiles * rows, ROWS):
            _wide(x, w, start, out, (row, column, stride))
    if wide < width:
        for row in range(0, tiles * rows, ROWS):
            _narrow(x, w, start, out, (row, wide, stride))
