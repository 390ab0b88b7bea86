"""Rows in address space that is reserved once and backed by memory only where it is written.

A growing array that copies itself doubles its memory at the worst moment and leaves readers with
a stale view. The kernel already knows how to grow without moving: an anonymous mapping with
MAP_NORESERVE costs nothing until a page is touched (mmap(2)). So `values` is one array for life.

A large arena is read at random and filled from its start, which huge pages suit (madvise(2)): they
are asked for beyond the first megabytes, so that a small table does not take one for a few rows.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL_PAGES: Final = 32 << 20  # bytes before the first huge page, of 2 MB on most processors
MAP_NORESERVE: Final = 0x4000  # Linux; the mmap module names it only from Python 3.13 on


class Arena:
    """`values[max_rows, width]`, all zeros until written."""

    def __init__(self, dtype: np.dtype[Any], width: int, max_rows: int) -> None:
        """Reserve address space; no memory is used yet. MemoryError where there is not enough."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        size = max_rows * width * dtype.itemsize
        try:
            self._mapping = mmap.mmap(-1, size, flags=flags)
        except (OSError, OverflowError) as error:
            raise MemoryError(
                f"no address space for {max_rows} rows of {width} {dtype} values"
            ) from error
        if size > SMALL_PAGES:
            # Advice only: where the kernel has no huge pages, it stays with small ones.
            with suppress(OSError):
                self._mapping.madvise(mmap.MADV_HUGEPAGE, SMALL_PAGES)
        self.values: NDArray[Any] = np.frombuffer(self._mapping, dtype).reshape(max_rows, width)
