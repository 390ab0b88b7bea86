"""Object storage in memory, held to the same contract test as the real one."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

from millstream_core.store import Listed, ObjectMissing, PreconditionFailed, Stored, StoreError
from millstream_core.store.errors import refuse_oversized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class MemoryObjects:
    """An ObjectStore that honours conditions, and fails or lies when told to."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.fail_with: StoreError | None = None  # every call raises this while set
        self.honours_conditions = True
        self.now = 1e9  # of its clock, Unix seconds
        self.modified: dict[str, float] = {}
        self._tags = itertools.count(1)
        self._lock = threading.Lock()

    def copied(self) -> MemoryObjects:
        """Another store with the same objects."""
        other = MemoryObjects()
        other.objects, other.modified, other.now = dict(self.objects), dict(self.modified), self.now
        other._tags = itertools.count(next(self._tags))
        return other

    def get(self, key: str, at_most: int | None = None) -> Stored:
        with self._lock:
            self._fail()
            if key not in self.objects:
                raise ObjectMissing(key)
            refuse_oversized(key, len(self.objects[key].data), at_most)
            return self.objects[key]

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        with self._lock:
            self._fail()
            held = self.objects.get(key)
            if self.honours_conditions:
                if if_absent and held is not None:
                    raise PreconditionFailed(key)
                if if_match is not None and (held is None or held.etag != if_match):
                    raise PreconditionFailed(key)
            tag = f'"{next(self._tags)}"'
            self.objects[key] = Stored(bytes(data), tag)
            self.modified[key] = self.now
            return tag

    def list(self, prefix: str) -> Iterator[Listed]:
        with self._lock:
            self._fail()
            keys = sorted(key for key in self.objects if key.startswith(prefix))
            found = [Listed(key, len(self.objects[key].data), self.modified[key]) for key in keys]
        return iter(found)

    def delete(self, key: str) -> None:
        with self._lock:
            self._fail()
            self.objects.pop(key, None)

    def damage(self, part_of_key: str, change: Callable[[bytes], bytes]) -> str:
        """Change the bytes of the one object whose key contains this; returns its key."""
        [key] = [key for key in self.objects if part_of_key in key]
        held = self.objects[key]
        self.objects[key] = Stored(change(held.data), held.etag)
        return key

    def _fail(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with


class CountedObjects(MemoryObjects):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.bytes_read = 0

    def get(self, key: str, at_most: int | None = None) -> Stored:
        found = super().get(key, at_most)
        self.reads += 1
        self.bytes_read += len(found.data)
        return found
