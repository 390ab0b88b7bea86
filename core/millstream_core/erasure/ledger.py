"""Who was erased and when, told by hashes: a value that answers for millions of keys at a time.

    key ──mix with the salt──► tag: among the tags erased? ── no, nearly always
                                └── yes ──► keyed BLAKE2b-256 ──► the entries about this key

Hashing a key costs a microsecond, which ten million of them do not get. The tag costs a
nanosecond and lets through one key in 2^32 for each key that was erased.

BLAKE2b with a key is a MAC (RFC 7693): without the salt nobody can test a guess.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numba import njit

from millstream_api.erasure import HashedKey
from millstream_core.tables.hashing import mix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from millstream_api.erasure import Erasure
    from millstream_core.tables.index import Keys

SALT_BYTES: Final = 32
_History = tuple[tuple[int, bool], ...]  # of one key: (number of the entry, whether it erases)

_FILTER_BITS: Final = 20  # a megabyte, which caches hold


@dataclass(frozen=True, eq=False)
class _Tags:
    """The tags of all keys of one subject that the ledger names."""

    sorted: NDArray[np.uint32]
    begins: NDArray[np.bool_]  # by the upper bits of a tag: whether any tag begins so


@dataclass(frozen=True, eq=False)
class Ledger:
    """All entries up to `seq`; never changes."""

    salt: bytes = b""
    seq: int = 0
    erased_at: int = 0  # the newest entry that erases
    _entries: Mapping[tuple[str, str], _History] = field(default_factory=dict)
    _tags: Mapping[str, _Tags] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def hashed(self, subject: str, key: int) -> HashedKey:
        """How entries name this key."""
        [tag] = _tags_of(np.array([key], np.int64), self._seed(subject)).tolist()
        return HashedKey(tag=tag, hash=self._hash(subject, key))

    def erased(
        self, subject: str, keys: Keys, *, after: int = 0, upto: int | None = None
    ) -> NDArray[np.bool_]:
        """Which of these keys were erased by an entry of number after < seq <= upto, bool[n].

        What a version's writer knew of, it has left out: so a version written as of entry `m`
        must lose the keys erased after m, also those lifted since. They came back, if they did,
        with rows of their own in a later version.

        Args:
            subject: whose keys.
            keys: int64[n].
            after: an entry's number.
            upto: an entry's number; None: the newest.
        """
        last = self.seq if upto is None else upto
        return self._chosen(
            subject,
            keys,
            lambda entries: any(is_erased and after < seq <= last for seq, is_erased in entries),
        )

    def blocked(self, subject: str, keys: Keys) -> NDArray[np.bool_]:
        """Which of these keys are erased and not lifted since, bool[n]: they must get no row."""
        return self._chosen(subject, keys, lambda entries: entries[-1][1])

    def extended(self, entries: Iterable[Erasure]) -> Ledger:
        """This ledger with further entries, in order of their numbers."""
        known = dict(self._entries)
        tags = {subject: set(each.sorted.tolist()) for subject, each in self._tags.items()}
        seq, erased_at = self.seq, self.erased_at
        for entry in entries:
            seq = entry.seq
            is_erased = entry.action == "erase"
            erased_at = seq if is_erased else erased_at
            for key in entry.keys:
                place = (entry.subject, key.hash)
                known[place] = (*known.get(place, ()), (seq, is_erased))
                tags.setdefault(entry.subject, set()).add(key.tag)
        made = {subject: _filter_of(found) for subject, found in tags.items()}
        return Ledger(self.salt, seq, erased_at, known, made)

    def _chosen(
        self, subject: str, keys: Keys, is_meant: Callable[[_History], bool]
    ) -> NDArray[np.bool_]:
        chosen = np.zeros(len(keys), np.bool_)
        tags = self._tags.get(subject)
        if tags is None or not len(keys):
            return chosen
        seed = self._seed(subject)
        if not _suspects(keys, seed, tags.begins, chosen):
            return chosen
        places = np.flatnonzero(chosen)
        chosen[places] = False
        found = _tags_of(keys[places], seed)
        nearest = np.minimum(np.searchsorted(tags.sorted, found), len(tags.sorted) - 1)
        places = places[tags.sorted[nearest] == found]
        for place, key in zip(places.tolist(), keys[places].tolist(), strict=True):
            entries = self._entries.get((subject, self._hash(subject, key)))
            chosen[place] = entries is not None and is_meant(entries)
        return chosen

    def _hash(self, subject: str, key: int) -> str:
        data = subject.encode() + b"\0" + key.to_bytes(8, "little", signed=True)
        return hashlib.blake2b(data, key=self.salt, digest_size=32).hexdigest()

    def _seed(self, subject: str) -> np.uint64:
        """What tags of this subject are mixed with."""
        digest = hashlib.blake2b(subject.encode(), key=self.salt, digest_size=8).digest()
        return np.uint64(int.from_bytes(digest, "little"))


def _filter_of(tags: set[int]) -> _Tags:
    found = np.array(sorted(tags), np.uint32)
    begins = np.zeros(1 << _FILTER_BITS, np.bool_)
    begins[found >> np.uint32(32 - _FILTER_BITS)] = True
    return _Tags(found, begins)


@njit(cache=True, nogil=True)
def _tag(key: np.int64, seed: np.uint64) -> np.uint32:
    # Twice, so that tags of two models or subjects are not the same but for a shift.
    return np.uint32(mix(mix(np.uint64(key) ^ seed) + seed) >> np.uint64(32))


@njit(cache=True, nogil=True)
def _tags_of(keys: Keys, seed: np.uint64) -> NDArray[np.uint32]:
    tags = np.empty(len(keys), np.uint32)
    for i in range(len(keys)):
        tags[i] = _tag(keys[i], seed)
    return tags


@njit(cache=True, nogil=True)
def _suspects(
    keys: Keys, seed: np.uint64, begins: NDArray[np.bool_], suspects: NDArray[np.bool_]
) -> int:
    """Mark the keys whose tags begin like one that was erased; returns how many."""
    count = 0
    shift = np.uint32(32 - _FILTER_BITS)
    for i in range(len(keys)):
        suspects[i] = begins[_tag(keys[i], seed) >> shift]
        count += suspects[i]
    return count
