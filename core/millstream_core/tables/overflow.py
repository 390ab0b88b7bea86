"""Rows beyond a memory budget, in a file that is mapped behind those in memory.

    slot   0 ─────────────── in memory ─────────────── memory_rows ──────── on disk ────────► end
           anonymous pages                              pages of a file without a name

Both parts are one array at addresses that follow each other, so whatever reads or writes a row by
its slot works on either and need not know. The file has no name: it goes with the process, however
that ends. Its blocks are set aside before a row may be stored in them: a disk that is full is an
error with a message, where storing into a hole of a mapped file would end the process by SIGBUS
(mmap(2)).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_core.tables.arena import Arena

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

LEAST_ROWS: Final = 1024  # in memory: fewer than a step reads would only change places

_MAP_FIXED: Final = 0x10  # Linux; the mmap module has no name for it
_STEP: Final = 1 << 20  # bytes of a file that are set aside at once, or a 16th of what there is
_FAILED: Final = ctypes.c_void_p(-1).value


class OverflowFull(MemoryError):  # noqa: N818
    """There is no room for more rows; the table is as it was."""


@dataclass(frozen=True)
class Overflow:
    """How much memory the rows of a table may take, and where the others go."""

    folder: Path
    budget: int  # bytes of memory
    limit: int  # bytes of disk

    def memory_rows(self, row_bytes: int) -> int:
        """How many rows of this size stay in memory; ValueError where they are too few."""
        rows = self.budget // row_bytes
        if rows < LEAST_ROWS:
            raise ValueError(
                f"a memory budget of {self.budget} bytes holds {rows} rows of {row_bytes} bytes, "
                f"and at least {LEAST_ROWS} are needed: raise the budget to "
                f"{LEAST_ROWS * row_bytes} bytes or more"
            )
        return rows

    def room(self, rows: int, width: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array [rows, width] in a file without a name, which goes with the array.

        Raises:
            OverflowFull: there is no disk for it.
        """
        size = rows * width * dtype.itemsize
        try:
            with tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
                os.posix_fallocate(file.fileno(), 0, size)
                mapping = mmap.mmap(file.fileno(), size)
        except OSError as error:
            raise OverflowFull(
                f"no room on disk for a copy of {rows} rows ({error.strerror}): give the overflow "
                "of the table a larger disk, or let eviction keep fewer rows"
            ) from error
        return np.frombuffer(mapping, dtype).reshape(rows, width)


class OverflowingArena(Arena):
    """An arena whose first rows are in memory and whose others are in a file."""

    def __init__(
        self, dtype: np.dtype[Any], width: int, max_rows: int, folder: Path, memory_rows: int
    ) -> None:
        """Map the file; it takes no disk yet.

        Args:
            dtype: of the values.
            width: values in a row.
            max_rows: bound on the rows; only addresses are set aside for them.
            folder: where the file is; it is never seen there.
            memory_rows: how many of the first rows are in memory, and up to a page more.

        Raises:
            ValueError: no file can be made there.
        """
        super().__init__(dtype, width, max_rows)
        self._row = width * dtype.itemsize
        self._begin = -(-memory_rows * self._row // mmap.PAGESIZE) * mmap.PAGESIZE
        self._most = max(0, max_rows * self._row - self._begin)
        self._set_aside = 0
        try:
            with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
                file.truncate(self._most)
                self._file = os.dup(file.fileno())
        except OSError as error:
            raise ValueError(
                f"rows beyond the memory budget cannot be kept in {folder} ({error.strerror}): "
                "name a folder on a local disk that can be written"
            ) from error
        weakref.finalize(self, os.close, self._file)
        if self._most:
            self._map()

    def reserve(self, rows: int) -> None:
        """Set disk aside for all rows below this one.

        Raises:
            OverflowFull: there is not enough; nothing has changed.
        """
        needed = rows * self._row - self._begin
        if needed <= self._set_aside:
            return
        end = min(self._most, needed + max(_STEP, needed // 16))
        try:
            os.posix_fallocate(self._file, self._set_aside, end - self._set_aside)
        except OSError as error:
            raise OverflowFull(
                f"no room on disk for {rows} rows ({error.strerror}): give the overflow of the "
                "table a larger disk, or let eviction keep fewer rows"
            ) from error
        self._set_aside = end

    @contextmanager
    def read_in_order(self) -> Iterator[None]:
        """While all rows are read from first to last: fetch from the file ahead."""
        self._advise(mmap.MADV_SEQUENTIAL)
        try:
            yield
        finally:
            self._advise(mmap.MADV_RANDOM)

    def _map(self) -> None:
        """Put the pages of the file where those of memory would be."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            *[ctypes.c_int] * 3,
            ctypes.c_long,
        ]
        address = self.values.ctypes.data + self._begin
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | _MAP_FIXED
        found = libc.mmap(address, self._most, protection, flags, self._file, 0)
        if found == _FAILED:
            raise MemoryError(
                f"a file of {self._most} bytes cannot be mapped: {os.strerror(ctypes.get_errno())}"
            )
        # Rows are read one here, one there: fetching their neighbours would only push others out.
        self._advise(mmap.MADV_RANDOM)

    def _advise(self, how: int) -> None:
        if self._most:
            self._mapping.madvise(how, self._begin, self._most)
