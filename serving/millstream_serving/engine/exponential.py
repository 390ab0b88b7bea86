"""e to the power of x in float32, for loops that are to be vectorised.

numba's own calls the C library for each value, which takes 5 ns; LLVM makes vectors of this.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

SMALLEST: Final = np.float32(-87.0)  # below: its e to the power of x is no normal number
_LOG2_E: Final = np.float32(1.4426950408889634)
_LN2_HIGH: Final = np.float32(0.693359375)  # ln 2 in two parts, the first of few bits
_LN2_LOW: Final = np.float32(-2.12194440e-4)
_HALF: Final = np.float32(0.5)
_ONE: Final = np.float32(1.0)
_C5: Final = np.float32(1.9875691500e-4)
_C4: Final = np.float32(1.3981999507e-3)
_C3: Final = np.float32(8.3334519073e-3)
_C2: Final = np.float32(4.1665795894e-2)
_C1: Final = np.float32(1.6666665459e-1)
_C0: Final = np.float32(5.0000001201e-1)


@intrinsic
def _power_of_two(_: Any, exponent: Any) -> Any:  # noqa: ARG001 - numba reads the signature
    """2 to the power of a whole number from -126 to 127."""

    def generate(_: Any, builder: Any, __: Any, args: Any) -> Any:
        bits = builder.shl(builder.add(args[0], ir.IntType(32)(127)), ir.IntType(32)(23))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), generate


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def exponential(x: np.float32) -> np.float32:
    """E to the power of x, for x up to 0; within 2e-7 of it. NaN stays NaN.

    The range is cut to ±ln 2 / 2, and a polynomial does the rest: Cephes, expf (Moshier, 1992).
    """
    x = max(x, SMALLEST)
    whole = np.floor(x * _LOG2_E + _HALF)
    rest = x - whole * _LN2_HIGH - whole * _LN2_LOW
    series = ((((_C5 * rest + _C4) * rest + _C3) * rest + _C2) * rest + _C1) * rest + _C0
    power = np.int32(np.float32(0.0) if np.isnan(whole) else whole)
    value: np.float32 = (series * rest * rest + rest + _ONE) * _power_of_two(power)
    return value
