"""How the values of a row are stored where servers read them: exactly, or in fewer bytes.

    live float32 ──encode, once, at publish──► stored ──decode, at each look-up──► float32

Encoding looks at one row at a time, so equal rows have equal bytes wherever and whenever they are
encoded: a base and a chain of deltas of the same state agree to the bit. What is stored is copied
from then on and never encoded again: decoding and encoding `int8rows` once more may give other
bytes.

`int8rows` keeps, by row, the smallest value and a step of 1/255 of the span as float16 (the
row-wise quantisation of Guan et al., Post-Training 4-bit Quantization on Embedding Tables, 2019,
with 8 bits); the values' bytes come first, then step and smallest. The smallest is rounded down
and the step up, so the 256 levels reach from end to end of the row and no value is further from
its level than half a step.

A float16 ends at 65,504. A row that does not fit, as one that is not finite, is stored as not
finite: readers refuse either, and no embedding that works is anywhere near.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.manifest import Dtype

TAIL: Final = 4  # bytes of step and smallest value
_LEVELS: Final = np.float32(255)


def stored_form(dtype: Dtype, width: int) -> tuple[np.dtype[Any], int]:
    """The numpy dtype of stored values and how many of them make a row of `width` values."""
    if dtype == "int8rows":
        return np.dtype(np.uint8), width + TAIL
    return np.dtype(dtype), width


def encode(values: NDArray[Any], dtype: Dtype) -> NDArray[Any]:
    """Live values as they are stored.

    Args:
        values: [n, width]; float32 where they are to be quantised.
        dtype: of the stored form.

    Returns:
        [n, stored width], see `stored_form`; see `finite_rows` for what has no stored form.
    """
    if dtype != "int8rows":
        with np.errstate(over="ignore"):
            return values.astype(dtype, copy=False)
    smallest, largest = np.empty((2, len(values)), np.float32)
    _extend(values, smallest, largest)
    with np.errstate(over="ignore", invalid="ignore"):
        offset = _half(smallest, -np.inf)
        step = _half((largest - offset.astype(np.float32)) / _LEVELS, np.inf)
    fits = np.isfinite(offset) & np.isfinite(step)
    offset[~fits] = step[~fits] = np.nan
    stored = np.empty((len(values), values.shape[1] + TAIL), np.uint8)
    _quantise(values, step.astype(np.float32), offset.astype(np.float32), stored)
    stored[:, values.shape[1] :] = np.stack([step, offset], axis=1).astype("<f2").view(np.uint8)
    return stored


def decode(stored: NDArray[Any], dtype: Dtype) -> NDArray[Any]:
    """Stored rows as live values, [n, width]: float32 again where they were quantised."""
    if dtype == "float16":
        return stored.astype(np.float32)
    if dtype != "int8rows":
        return stored
    tail = _tail(stored).astype(np.float32)
    return stored[:, :-TAIL].astype(np.float32) * tail[:, :1] + tail[:, 1:]


def finite_rows(stored: NDArray[Any], dtype: Dtype) -> NDArray[np.bool_]:
    """Which stored rows have only finite values, bool[n]; found without decoding them."""
    if dtype == "int8rows":
        stored = _tail(stored)
        # A step below zero is never written: whoever wrote it did not mean this form.
        stored = np.where(stored[:, :1] >= 0, stored, np.float16(np.nan))
    is_finite: NDArray[np.bool_] = np.isfinite(stored).all(axis=1)
    return is_finite


def _tail(stored: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Step and smallest value of each row, float16[n, 2]."""
    return np.ascontiguousarray(stored[:, -TAIL:]).view("<f2")


def _half(values: NDArray[np.float32], towards: float) -> NDArray[np.float16]:
    """The nearest float16 on that side of each value."""
    near = values.astype(np.float16)
    wide = near.astype(np.float32)
    is_beyond = wide < values if towards > 0 else wide > values
    near[is_beyond] = np.nextafter(near[is_beyond], np.float16(towards))
    return near


@njit(cache=True, nogil=True)
def _extend(
    values: NDArray[np.float32], smallest: NDArray[np.float32], largest: NDArray[np.float32]
) -> None:
    """Smallest and largest value of each row; NaN where a value is not finite."""
    for i in range(values.shape[0]):
        low, high = values[i, 0], values[i, 0]
        nothing = np.float32(0)  # NaN once a value is not finite
        for j in range(values.shape[1]):
            value = values[i, j]
            low = value if value < low else low  # noqa: FURB136 - min() is not vectorised
            high = value if value > high else high  # noqa: FURB136
            nothing += value - value
        smallest[i], largest[i] = low + nothing, high + nothing


@njit(cache=True, nogil=True, error_model="numpy")
def _quantise(
    values: NDArray[np.float32],
    step: NDArray[np.float32],
    offset: NDArray[np.float32],
    stored: NDArray[np.uint8],
) -> None:
    for i in range(values.shape[0]):
        scale = np.float32(1) / step[i] if step[i] > 0 else np.float32(0)
        for j in range(values.shape[1]):
            # NaN, in a row that does not fit, compares as false and becomes level 0.
            level = np.rint((values[i, j] - offset[i]) * scale)
            level = level if level > 0 else np.float32(0)
            level = level if level < _LEVELS else _LEVELS  # noqa: FURB136
            stored[i, j] = np.uint8(np.int32(level))
