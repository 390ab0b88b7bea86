"""What the intrinsics of `amx`, `avx512` and `bfloats` emit alike, as code of LLVM."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from llvmlite import ir  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTE: Final = ir.IntType(8)
INDEX: Final = ir.IntType(64)
POINTER: Final = BYTE.as_pointer()
VOID: Final = ir.VoidType()


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite does not name."""

    null = "0.0"

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BFLOAT: Final = _BFloat()


def instruction(builder: Any, name: str, *arguments: Any, result: Any = VOID) -> Any:
    """Emit an instruction of x86 by its name in LLVM; gives its result, if it has one."""
    function = ir.FunctionType(result, [argument.type for argument in arguments])
    name = f"llvm.x86.{name}"
    found = builder.module.globals.get(name) or ir.Function(builder.module, function, name)
    return builder.call(found, arguments)


def data_of(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    """Where the array that is this argument begins, as a pointer to bytes."""
    array = context.make_array(signature.args[place])(context, builder, args[place])
    return builder.bitcast(array.data, POINTER)


def _width_of(context: Any, builder: Any, signature: Any, args: Any, place: int) -> Any:
    """How many columns the matrix that is this argument has."""
    array = context.make_array(signature.args[place])(context, builder, args[place])
    return builder.extract_value(array.shape, 1)


def operands_of(context: Any, builder: Any, signature: Any, args: Any) -> tuple[Any, ...]:
    """Of a product's first four arguments: where x, w, start and out begin, and depth and width."""
    places = [data_of(context, builder, signature, args, place) for place in range(4)]
    return *places, *(_width_of(context, builder, signature, args, place) for place in (0, 3))


@contextmanager
def counted(builder: Any, times: Any) -> Iterator[Any]:
    """Emit a loop that runs at least once, around what is emitted within; gives the number."""
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("step", "done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    step = builder.phi(INDEX)
    yield step
    following = builder.add(step, INDEX(1))
    step.add_incoming(INDEX(0), before)
    step.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_unsigned("<", following, times), loop, after)
    builder.position_at_end(after)
