"""Compiled kernels that travel with the image, so that a pod does not compile at its start.

numba keeps what it compiled in NUMBA_CACHE_DIR and wants to write there, but the root file system
of a hardened pod is read-only. So an image is built with the kernels in MILLSTREAM_KERNELS, and a
program copies these few hundred kilobytes to the writable place before it calls the first kernel.
On a processor that the kernels were not made for, numba compiles them again by itself.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def bring_kernels() -> None:
    """Copy the image's compiled kernels to where numba looks; nothing where there are none."""
    shipped, wanted = os.environ.get("MILLSTREAM_KERNELS"), os.environ.get("NUMBA_CACHE_DIR")
    if shipped and wanted and Path(shipped).is_dir():
        shutil.copytree(shipped, wanted, dirs_exist_ok=True)
