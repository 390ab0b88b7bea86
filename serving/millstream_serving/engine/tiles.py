"""Small matrix products for numba kernels: out += x @ w, and out = relu(base + bias + x @ w).

The matrices of one request are tens of rows by tens of columns. numba's own `np.dot` needs scipy
for its BLAS, BLAS brings threads of its own, and a plain loop is not kept in registers by LLVM's
vectoriser (measured on AVX-512: 17 to 25 GFLOP/s, where this reaches 100 and OpenBLAS 58 to 65).
So the inner tile, 5 rows by one or two vectors of 16 columns, is written as LLVM vectors: its
accumulators are phi nodes and therefore registers. What a layer does before and after its product
is done while the tile is there, which saves a pass over the layer for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from llvmlite.binding import get_host_cpu_features  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS: Final = 5  # divides the usual history lengths
COLUMNS: Final = 16  # of one vector; widths of `w` are padded to a multiple of this
# Sums that fit the registers: 10 of the 32 of AVX-512; 10 of the 16 of AVX2, two for a vector.
VECTORS: Final = 2 if get_host_cpu_features().get("avx512f") else 1
WIDE: Final = VECTORS * COLUMNS

_FLOAT: Final = ir.FloatType()
_INDEX: Final = ir.IntType(64)
_VECTOR: Final = ir.VectorType(_FLOAT, COLUMNS)
_ZEROS: Final = ir.Constant(_VECTOR, [0.0] * COLUMNS)


def _sums(builder: Any, rows: int, vectors: int, arrays: Any, start: Any) -> Any:
    """Emit sums[r][v] = start[r][v] + x[row + r] @ w[:, column + 16 v : … + 16].

    The depth is at least 1: with a branch around the loop LLVM keeps fewer sums in registers, and
    it takes 1.4 times as long.

    Args:
        builder: where to.
        rows: of the tile.
        vectors: of the tile.
        arrays: x and w, and the index values `row` and `column`.
        start: for row and vector, the value to begin with.
    """
    x, w, row, column = arrays
    depth, width = (builder.extract_value(w.shape, axis) for axis in (0, 1))
    inputs = [
        builder.gep(x.data, [builder.mul(builder.add(row, _INDEX(r)), depth)]) for r in range(rows)
    ]
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("depth", "summed"))
    builder.branch(loop)

    builder.position_at_end(loop)
    j = builder.phi(_INDEX)
    so_far = [[builder.phi(_VECTOR) for _ in range(vectors)] for _ in range(rows)]
    place = builder.add(builder.mul(j, width), column)
    weights = [_load(builder, w, builder.add(place, _INDEX(COLUMNS * v))) for v in range(vectors)]
    added = []
    for source, sums in zip(inputs, so_far, strict=True):
        value = _splat(builder, builder.load(builder.gep(source, [j])))
        added.append(
            [
                builder.fadd(
                    builder.fmul(value, weight, flags=("contract",)), total, flags=("contract",)
                )
                for weight, total in zip(weights, sums, strict=True)
            ]
        )
    following = builder.add(j, _INDEX(1))
    j.add_incoming(_INDEX(0), before)
    j.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

    builder.position_at_end(after)
    for r in range(rows):
        for v in range(vectors):
            so_far[r][v].add_incoming(start[r][v], before)
            so_far[r][v].add_incoming(added[r][v], loop)
    return added


def _adding(rows: int, vectors: int) -> Any:
    """An intrinsic that adds x @ w to a tile of `out`."""

    @intrinsic
    def add_tile(_: Any, x: Any, w: Any, out: Any, row: Any, column: Any) -> Any:  # noqa: ARG001 - numba reads the signature
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, out = _arrays(context, builder, signature, args, 3)
            row, column = args[3:]
            places = _places(builder, out, rows, vectors, row, column)
            start = [[_load(builder, out, place) for place in of_row] for of_row in places]
            sums = _sums(builder, rows, vectors, (x, w, row, column), start)
            _store(builder, out, places, sums)
            return context.get_dummy_value()

        return types.void(x, w, out, types.int64, types.int64), generate

    return add_tile


def _rectifying(rows: int, vectors: int) -> Any:
    """An intrinsic that makes a tile of `out` relu(base + bias + x @ w)."""

    @intrinsic
    def rectify_tile(
        _: Any,
        x: Any,
        w: Any,
        base: Any,
        bias: Any,
        out: Any,
        row: Any,  # noqa: ARG001 - numba reads the signature
        column: Any,  # noqa: ARG001
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, w, base, bias, out = _arrays(context, builder, signature, args, 5)
            row, column = args[5:]
            places = _places(builder, out, rows, vectors, row, column)
            biases = [
                _load(builder, bias, builder.add(column, _INDEX(COLUMNS * v)))
                for v in range(vectors)
            ]
            start = [
                [
                    builder.fadd(_load(builder, base, place), each)
                    for place, each in zip(of_row, biases, strict=True)
                ]
                for of_row in _places(builder, base, rows, vectors, row, column)
            ]
            sums = _sums(builder, rows, vectors, (x, w, row, column), start)
            # Not max(), which may drop NaN: what is not a number must show in the score.
            rectified = [
                [
                    builder.select(builder.fcmp_ordered("<", value, _ZEROS), _ZEROS, value)
                    for value in of_row
                ]
                for of_row in sums
            ]
            _store(builder, out, places, rectified)
            return context.get_dummy_value()

        return types.void(x, w, base, bias, out, types.int64, types.int64), generate

    return rectify_tile


def _arrays(context: Any, builder: Any, signature: Any, args: Any, count: int) -> Any:
    return [
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args[:count], args[:count], strict=True)
    ]


def _places(builder: Any, out: Any, rows: int, vectors: int, row: Any, column: Any) -> Any:
    """Where the vectors of a tile begin in a matrix like `out`."""
    width = builder.extract_value(out.shape, 1)
    first = [
        builder.add(builder.mul(builder.add(row, _INDEX(r)), width), column) for r in range(rows)
    ]
    return [[builder.add(each, _INDEX(COLUMNS * v)) for v in range(vectors)] for each in first]


def _load(builder: Any, array: Any, place: Any) -> Any:
    return builder.load(_as_vector(builder, builder.gep(array.data, [place])), align=4)


def _store(builder: Any, array: Any, places: Any, values: Any) -> None:
    for row, found in zip(places, values, strict=True):
        for place, value in zip(row, found, strict=True):
            builder.store(value, _as_vector(builder, builder.gep(array.data, [place])), align=4)


def _as_vector(builder: Any, pointer: Any) -> Any:
    return builder.bitcast(pointer, _VECTOR.as_pointer())


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)
    return builder.shuffle_vector(
        builder.insert_element(undefined, value, ir.IntType(32)(0)), undefined, lanes
    )


_add_wide, _add_narrow = _adding(ROWS, VECTORS), _adding(ROWS, 1)
_add_row = _adding(1, 1)
_rectify_wide, _rectify_narrow = _rectifying(ROWS, VECTORS), _rectifying(ROWS, 1)
_rectify_row = _rectifying(1, 1)


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
    if w.shape[0] == 0:
        return
    whole, wide = rows - rows % ROWS, w.shape[1] - w.shape[1] % WIDE
    for column in range(0, wide, WIDE):
        for row in range(0, whole, ROWS):
            _add_wide(x, w, out, row, column)
    for column in range(wide, w.shape[1], COLUMNS):
        for row in range(0, whole, ROWS):
            _add_narrow(x, w, out, row, column)
    for row in range(whole, rows):
        for column in range(0, w.shape[1], COLUMNS):
            _add_row(x, w, out, row, column)


@njit(cache=True, nogil=True, error_model="numpy")
def rectify(
    x: NDArray[np.float32],
    rows: int,
    w: NDArray[np.float32],
    base: NDArray[np.float32],
    bias: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """out[:rows] = relu(base[:rows] + bias + x[:rows] @ w), which lets NaN through.

    Args:
        x: float32[>= rows, depth], C-contiguous.
        rows: how many rows to take.
        w: float32[depth, width], C-contiguous, depth at least 1, width a multiple of 16.
        base: float32[>= rows, >= width], C-contiguous; may be `out`.
        bias: float32[width].
        out: float32[>= rows, width], C-contiguous.
    """
    whole, wide = rows - rows % ROWS, w.shape[1] - w.shape[1] % WIDE
    for column in range(0, wide, WIDE):
        for row in range(0, whole, ROWS):
            _rectify_wide(x, w, base, bias, out, row, column)
    for column in range(wide, w.shape[1], COLUMNS):
        for row in range(0, whole, ROWS):
            _rectify_narrow(x, w, base, bias, out, row, column)
    for row in range(whole, rows):
        for column in range(0, w.shape[1], COLUMNS):
            _rectify_row(x, w, base, bias, out, row, column)
