"""Asking the processor for memory before it is needed.

Keys of a batch lie anywhere in a table larger than the caches, and each is waited for in turn
where what is done with one decides a branch. `llvm.prefetch` begins a read without waiting for it
(https://llvm.org/docs/LangRef.html#llvm-prefetch-intrinsic); numba has no name for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

AHEAD: Final = 16  # rows: fewer come too late, more gain nothing
_READ, _KEEP, _DATA = 0, 3, 1


@intrinsic
def prefetch(_: Any, array: Any, row: Any) -> tuple[Any, Callable[..., Any]]:
    """Begin to fetch the start of a row of a two-dimensional array.

    For reading, also where it will be written: to fetch for writing takes the line from the other
    cores, and readers of a served index share it.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, (value, index) = signature.args[0], arguments
        struct = context.make_array(kind)(context, builder, value)
        address = cgutils.get_item_pointer2(
            context,
            builder,
            struct.data,
            cgutils.unpack_tuple(builder, struct.shape),
            cgutils.unpack_tuple(builder, struct.strides),
            kind.layout,
            [index, context.get_constant(types.intp, 0)],
        )
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        form = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], form)
        how = [flag(_READ), flag(_KEEP), flag(_DATA)]
        builder.call(fetch, [builder.bitcast(address, byte), *how])
        return context.get_dummy_value()

    return types.void(array, row), generate
