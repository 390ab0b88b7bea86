"""A small matrix product for numba kernels: out += x @ w.

The matrices of one request are tens of rows by tens of columns. numba's own `np.dot` needs scipy
for its BLAS, BLAS brings threads of its own, and a plain loop is not kept in registers by LLVM's
vectoriser (measured on AVX-512: 17 to 25 GFLOP/s, where this reaches 65 and OpenBLAS 58 to 65).
So the inner tile, 5 rows by 16 columns, is written as LLVM vectors: its accumulators are phi nodes
and therefore registers, on AVX2 as well as on AVX-512.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS: Final = 5  # divides the usual history lengths; 10 AVX2 registers of sums, 5 of AVX-512
COLUMNS: Final = 16  # widths of `w` are padded to a multiple of this

_FLOAT: Final = ir.FloatType()
_INDEX: Final = ir.IntType(64)
_VECTOR: Final = ir.VectorType(_FLOAT, COLUMNS)


def _tile(rows: int) -> Any:
    """An intrinsic that adds x[row : row + rows] @ w[:, column : column + 16] to `out`."""

    @intrinsic
    def add_tile(_: Any, x: Any, w: Any, out: Any, row: Any, column: Any) -> Any:  # noqa: ARG001 - numba reads the signature
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, out = (
                context.make_array(kind)(context, builder, value)
                for kind, value in zip(signature.args[:3], args[:3], strict=True)
            )
            first_row, column = args[3:]
            depth = builder.extract_value(w.shape, 0)
            width = builder.extract_value(w.shape, 1)
            row_numbers = [builder.add(first_row, _INDEX(r)) for r in range(rows)]
            inputs = [builder.gep(x.data, [builder.mul(r, depth)]) for r in row_numbers]
            outputs = [
                _as_vector(
                    builder, builder.gep(out.data, [builder.add(builder.mul(r, width), column)])
                )
                for r in row_numbers
            ]
            start = [builder.load(output, align=4) for output in outputs]
            before = builder.block
            loop = builder.append_basic_block("depth")
            after = builder.append_basic_block("stored")
            builder.cbranch(builder.icmp_signed(">", depth, _INDEX(0)), loop, after)

            builder.position_at_end(loop)
            j = builder.phi(_INDEX)
            sums = [builder.phi(_VECTOR) for _ in range(rows)]
            weights = builder.load(
                _as_vector(
                    builder, builder.gep(w.data, [builder.add(builder.mul(j, width), column)])
                ),
                align=4,
            )
            added = [
                builder.fadd(
                    builder.fmul(
                        _splat(builder, builder.load(builder.gep(source, [j]))),
                        weights,
                        flags=("contract",),
                    ),
                    so_far,
                    flags=("contract",),
                )
                for source, so_far in zip(inputs, sums, strict=True)
            ]
            following = builder.add(j, _INDEX(1))
            j.add_incoming(_INDEX(0), before)
            j.add_incoming(following, loop)
            for so_far, first, then in zip(sums, start, added, strict=True):
                so_far.add_incoming(first, before)
                so_far.add_incoming(then, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

            builder.position_at_end(after)
            results = [builder.phi(_VECTOR) for _ in range(rows)]
            for result, output, first, then in zip(results, outputs, start, added, strict=True):
                result.add_incoming(first, before)
                result.add_incoming(then, loop)
                builder.store(result, output, align=4)
            return context.get_dummy_value()

        return types.void(x, w, out, types.int64, types.int64), generate

    return add_tile


def _as_vector(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, _VECTOR.as_pointer())


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, ir.IntType(32)(0)), undefined, lanes
    )


_add_tile_of_rows = _tile(ROWS)
_add_tile_of_one = _tile(1)


@njit(cache=True, nogil=True, error_model="numpy")
def accumulate(
    x: NDArray[np.float32], rows: int, w: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """out[:rows] += x[:rows] @ w.

    Args:
        x: float32[>= rows, depth], C-contiguous.
        rows: how many rows to take.
        w: float32[depth, width], C-contiguous, width a multiple of 16.
        out: float32[>= rows, width], C-contiguous.
    """
    whole = rows - rows % ROWS
    for column in range(0, w.shape[1], COLUMNS):
        for row in range(0, whole, ROWS):
            _add_tile_of_rows(x, w, out, row, column)
        for row in range(whole, rows):
            _add_tile_of_one(x, w, out, row, column)
