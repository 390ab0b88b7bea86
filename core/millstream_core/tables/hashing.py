"""The 64-bit mixers that index, buckets, initialiser and state digest are made of.

`mix` is the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number
Generators, OOPSLA 2014, figure 15). All arithmetic is modulo 2^64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUCKETS: Final = 1024  # by which keys are divided over files
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_TO_BUCKET = np.uint64(54)  # leaves the highest bits; the home in an index is of the lowest


@njit(cache=True, nogil=True, inline="always")
def mix(value: np.uint64) -> np.uint64:
    """Spread every bit of a 64-bit value over all 64 bits; a bijection."""
    value = (value ^ (value >> _S30)) * _M1
    value = (value ^ (value >> _S27)) * _M2
    return value ^ (value >> _S31)


def buckets_of(keys: NDArray[np.int64]) -> NDArray[np.int16]:
    """The bucket of each key, below BUCKETS."""
    mixed: NDArray[np.uint64] = mix.py_func(keys.view(np.uint64) + GOLDEN)
    return (mixed >> _TO_BUCKET).astype(np.int16)
