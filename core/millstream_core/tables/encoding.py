"""How the values of a row are stored where servers read them: exactly, or in fewer bytes.

    live float32 ──encode, once, at publish──► stored ──decode, at each look-up──► float32

Encoding looks at one row at a time and rounds to nearest even, so equal rows have equal bytes
wherever and whenever they are encoded: a base, a chain of deltas and a compacted base of the same
state agree to the bit. `int8rows` keeps, by row, the smallest value and a step of 1/255 of the
span as float16 (the row-wise quantisation of Guan et al., Post-Training 4-bit Quantization on
Embedding Tables, 2019, with 8 bits); the values' bytes come first, then step and smallest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_api.manifest import Dtype

_TAIL: Final = 4  # bytes of step and smallest value
_LEVELS: Final = 255


def stored_form(dtype: Dtype, width: int) -> tuple[np.dtype[Any], int]:
    """The numpy dtype of stored values and how many of them make a row of `width` values."""
    if dtype == "int8rows":
        return np.dtype(np.uint8), width + _TAIL
    return np.dtype(dtype), width


def encode(values: NDArray[Any], dtype: Dtype) -> NDArray[Any]:
    """Live values as they are stored.

    Args:
        values: [n, width], finite where it is to be quantised.
        dtype: of the stored form.

    Returns:
        [n, stored width], see `stored_form`.
    """
    if dtype != "int8rows":
        return values.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        smallest = values.min(axis=1, initial=np.inf).astype(np.float16)
        span = values.max(axis=1, initial=-np.inf) - smallest.astype(np.float32)
        step = (span / np.float32(_LEVELS)).astype(np.float16)
    stored = np.empty((len(values), values.shape[1] + _TAIL), np.uint8)
    _quantise(values, step.astype(np.float32), smallest.astype(np.float32), stored)
    tail = np.stack([step, smallest], axis=1).astype("<f2")
    stored[:, values.shape[1] :] = tail.view(np.uint8)
    return stored


def decode(stored: NDArray[Any], dtype: Dtype) -> NDArray[Any]:
    """Stored rows as live values, [n, width]: float32 again where they were quantised."""
    if dtype == "float16":
        return stored.astype(np.float32)
    if dtype != "int8rows":
        return stored
    tail = np.ascontiguousarray(stored[:, -_TAIL:]).view("<f2").astype(np.float32)
    return stored[:, :-_TAIL].astype(np.float32) * tail[:, :1] + tail[:, 1:]


@njit(cache=True, nogil=True)
def _quantise(
    values: NDArray[np.float32],
    step: NDArray[np.float32],
    smallest: NDArray[np.float32],
    stored: NDArray[np.uint8],
) -> None:
    for i in range(values.shape[0]):
        scale = np.float32(1) / step[i] if step[i] > 0 else np.float32(0)
        for j in range(values.shape[1]):
            level = np.rint((values[i, j] - smallest[i]) * scale)
            stored[i, j] = np.uint8(min(max(level, np.float32(0)), np.float32(_LEVELS)))
