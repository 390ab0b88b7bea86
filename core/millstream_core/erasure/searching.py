"""Proof that keys are gone: every object of a model is read and searched, whatever names it.

Files of keys, tombstones and histories, candidates and golden events are parsed and compared
exactly: their form follows from their name alone. Everything else is searched for the eight bytes
of the key, and documents for its digits, where the key is large enough (2^32 and more) for a match
to mean anything; a small number occurs by chance.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from millstream_api.erasure import Search
from millstream_core.erasure.rows import HISTORY, LISTS
from millstream_core.features import Transform
from millstream_core.store import ObjectMissing
from millstream_core.tables.admission import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_core.store import Listed, ModelStore
    from millstream_core.tables.index import Keys

TELLING: Final = 1 << 32  # keys from here on do not occur by chance
AT_ONCE: Final = 8  # objects in memory
_TABLES: Final = Transform(history_length=1)
_ROWS: Final = re.compile(
    r"[^/]+/data/[^/]+/(?:serve|train)/([^/.]+)(?:\.([^/]+))?/(?:.*\.)?([a-z]+)"
)
_KEYS: Final = frozenset({"keys", "evicted", "erased"})


@dataclass(frozen=True)
class Needle:
    """Keys that must be nowhere."""

    subject: str
    keys: Keys  # int64[n]

    def is_in(self, key: str, data: bytes) -> tuple[bool, str]:
        """(whether an object holds one of the keys, whether that was parsed, raw or neither)."""
        place = _ROWS.fullmatch(key)
        if place is not None and len(data) % 8 == 0:
            table, memory, suffix = place.groups()
            if memory not in {None, WAITING}:
                return False, "parsed"  # numbers of a sketch's cells, which are of no key
            if suffix in _KEYS:
                is_same = _TABLES.subject_of(table) == self.subject
                return is_same and self._names(np.frombuffer(data, "<i8")), "parsed"
            if (table, suffix) == (_TABLES.history_table, HISTORY):
                return self.subject == "item" and self._names(np.frombuffer(data, "<i8")), "parsed"
        if key.endswith("/dense.safetensors"):
            try:
                tensors = load(data)
            except (SafetensorError, KeyError, ValueError):
                return self._contains(data)
            lists = [
                array
                for name, array in tensors.items()
                if name in LISTS and LISTS[name].subject == self.subject
            ]
            return any(map(self._names, lists)), "parsed"
        return self._contains(data)

    def _names(self, keys: NDArray[np.int64]) -> bool:
        return bool(np.isin(keys, self.keys).any())

    def _contains(self, data: bytes) -> tuple[bool, str]:
        telling = [key for key in self.keys.tolist() if abs(key) >= TELLING]
        if not telling:
            return False, "neither"
        return any(
            key.to_bytes(8, "little", signed=True) in data or _digits(key).search(data)
            for key in telling
        ), "raw"


def search(store: ModelStore, pool: Executor, needle: Needle, listed: Iterable[Listed]) -> Search:
    """Read all of these objects and say which of them hold a key.

    Raises:
        StoreError: the store did not do its part, so nothing is proved.
    """
    how: Counter[str] = Counter()
    found: list[str] = []
    size = 0

    def look(key: str) -> tuple[str, int, bool, str]:
        try:
            data = store.objects.get(key).data
        except ObjectMissing:  # gone since it was listed
            return key, 0, False, "neither"
        return key, len(data), *needle.is_in(key, data)

    keys = [each.key for each in listed]
    for first in range(0, len(keys), AT_ONCE):
        for key, length, is_found, way in pool.map(look, keys[first : first + AT_ONCE]):
            how[way] += 1
            size += length
            found += [key] if is_found else []
    return Search(
        objects=len(keys), bytes=size, parsed=how["parsed"], raw=how["raw"], found=tuple(found)
    )


def _digits(key: int) -> re.Pattern[bytes]:
    """The key in decimal, not as a part of a longer number."""
    return re.compile(rb"(?<![0-9])" + str(key).encode() + rb"(?![0-9])")
