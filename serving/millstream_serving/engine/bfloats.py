"""Matrices of bfloat16 for `amx` and `avx512`: weights in tiles, rows rounded on their way in.

A bfloat16 is the upper half of a float32, rounded to nearest; here its bits are uint16. Kernels
round by an instruction that processors with one of them have; no others may compile them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

from millstream_serving.engine.amx import COLUMNS, DEPTH, ROWS
from millstream_serving.engine.lines import zeros
from millstream_serving.engine.llvm import BFLOAT

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_serving.engine.amx import Bits, Floats


_FLOATS: Final = ir.VectorType(ir.FloatType(), COLUMNS)
_BFLOATS: Final = ir.VectorType(BFLOAT, COLUMNS)
_ZEROS: Final = ir.Constant(_FLOATS, [0.0] * COLUMNS)


def packed(matrix: Floats) -> Bits:
    """A matrix of weights as tiles, rounded to the nearest bfloat16.

    A tile holds 32 rows by 16 columns as 16 lines of pairs: rows 2i and 2i + 1 of a column side
    by side.

    Args:
        matrix: float32[depth, width]; padded with zeros to whole tiles.

    Returns:
        bfloat16[tiles of depth, tiles of width, 16, 16, 2].
    """
    depth, width = (
        -(-size // step) for size, step in zip(matrix.shape, (DEPTH, COLUMNS), strict=True)
    )
    whole = np.zeros((depth * DEPTH, width * COLUMNS), np.float32)
    whole[: matrix.shape[0], : matrix.shape[1]] = matrix
    tiles = zeros((depth, width, ROWS, COLUMNS, 2), np.uint16)
    pairs = rounded(whole).reshape(depth, DEPTH // 2, 2, width, COLUMNS)
    tiles[:] = pairs.transpose(0, 3, 1, 4, 2)
    return tiles


def rounded(values: Floats) -> Bits:
    """The nearest bfloat16 of each, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    near = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), bits >> 16 | 0x40, near).astype(np.uint16)


def _narrowing(combine: Callable[[Any, Any, Any], Any]) -> Any:
    """An intrinsic that makes out[k : k + 16] bfloat16 of what combine makes of x and y.

    Args:
        combine: emits a vector of float32 from one of x, at i, and one of y, at j.
    """

    @intrinsic
    def narrow(_: Any, x: Any, y: Any, out: Any, i: Any, j: Any, k: Any) -> Any:  # noqa: ARG001 - numba reads the signature
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y, out = (
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:3], args[:3], strict=True)
            )
            left, right = (
                builder.load(_as(_FLOATS, builder, array, place), align=4)
                for array, place in ((x, args[3]), (y, args[4]))
            )
            value = builder.fptrunc(combine(builder, left, right), _BFLOATS)
            builder.store(value, _as(_BFLOATS, builder, out, args[5]), align=2)
            return context.get_dummy_value()

        return types.void(x, y, out, types.int64, types.int64, types.int64), generate

    return narrow


def _as(kind: Any, builder: Any, array: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(array.data, [place]), kind.as_pointer())


def _product(builder: Any, left: Any, right: Any) -> Any:
    return builder.fmul(left, right)


def _rectified_sum(builder: Any, left: Any, right: Any) -> Any:
    value = builder.fadd(left, right)
    # Not max(), which may drop NaN: what is not a number must show in the score.
    return builder.select(builder.fcmp_ordered("<", value, _ZEROS), _ZEROS, value)


_narrow_product, _narrow_rectified = _narrowing(_product), _narrowing(_rectified_sum)


@njit(cache=True, nogil=True, error_model="numpy")
def narrow_products(x: Floats, first: int, rows: int, by: Floats, row: int, out: Bits) -> None:
    """out[:rows] = x[first : first + rows] · by[row], element by element.

    Args:
        x: float32[any, width], C-contiguous, width a multiple of 16.
        first: row of x.
        rows: how many.
        by: float32[any, width], C-contiguous.
        row: of it.
        out: bfloat16[>= rows, >= width], C-contiguous; what is beyond the width stays.
    """
    width, depth = x.shape[1], out.shape[1]
    for i in range(rows):
        for j in range(0, width, COLUMNS):
            _narrow_product(x, by, out, (first + i) * width + j, row * width + j, i * depth + j)


@njit(cache=True, nogil=True, error_model="numpy")
def narrow_rectified(x: Floats, rows: int, bias: Floats, row: int, out: Bits) -> None:
    """out[:rows] = relu(x[:rows] + bias[row]), which lets NaN through.

    Args:
        x: float32[>= rows, width], C-contiguous, width a multiple of 16.
        rows: how many.
        bias: float32[any, width], C-contiguous.
        row: of it.
        out: bfloat16[>= rows, >= width], C-contiguous; what is beyond the width stays.
    """
    width, depth = x.shape[1], out.shape[1]
    for i in range(rows):
        for j in range(0, width, COLUMNS):
            _narrow_rectified(x, bias, out, i * width + j, row * width + j, i * depth + j)
