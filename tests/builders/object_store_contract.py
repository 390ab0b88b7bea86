"""What every ObjectStore must do, run against the real one and against the one in memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from millstream_core.store import IntegrityError, ObjectMissing, ObjectStore, PreconditionFailed

if TYPE_CHECKING:
    from collections.abc import Callable


class ObjectStoreContract:
    """Subclasses give the fixture `objects`."""

    def test_what_was_put_is_read_back(self, objects: ObjectStore) -> None:
        tag = objects.put("a/b", b"one")
        assert objects.get("a/b").data == b"one"
        assert objects.get("a/b").etag == tag

    def test_an_object_larger_than_it_may_be_is_refused(self, objects: ObjectStore) -> None:
        """R20: and one that just fits is read."""
        objects.put("a/c", b"four")
        assert objects.get("a/c", at_most=4).data == b"four"
        with pytest.raises(IntegrityError, match="4 bytes, it may have 3"):
            objects.get("a/c", at_most=3)

    def test_a_missing_object_is_named(self, objects: ObjectStore) -> None:
        with pytest.raises(ObjectMissing, match="no/such"):
            objects.get("no/such")

    def test_create_if_absent_succeeds_once(self, objects: ObjectStore) -> None:
        objects.put("once", b"first", if_absent=True)
        with pytest.raises(PreconditionFailed):
            objects.put("once", b"second", if_absent=True)
        assert objects.get("once").data == b"first"

    def test_swap_needs_the_current_tag(self, objects: ObjectStore) -> None:
        old = objects.put("pointer", b"1")
        objects.put("pointer", b"2", if_match=old)
        with pytest.raises(PreconditionFailed):
            objects.put("pointer", b"3", if_match=old)
        assert objects.get("pointer").data == b"2"

    def test_swap_of_a_missing_object_is_a_lost_race(self, objects: ObjectStore) -> None:
        with pytest.raises(PreconditionFailed):
            objects.put("never", b"1", if_match='"0123456789abcdef0123456789abcdef"')

    def test_listing_is_by_prefix_and_ascending(self, objects: ObjectStore) -> None:
        for key in ("x/2", "x/10", "x/1", "y/1"):
            objects.put(key, b"")
        assert [listed.key for listed in objects.list("x/")] == ["x/1", "x/10", "x/2"]

    def test_a_listing_tells_size_and_when_it_was_last_written(self, objects: ObjectStore) -> None:
        objects.put("z/old", b"12345")
        objects.put("z/old", b"123")
        objects.put("z/young", b"")
        old, young = objects.list("z/")
        assert (old.bytes, young.bytes) == (3, 0)
        assert 0 <= young.modified - old.modified < 60, "one clock, the store's"

    def test_deleting_twice_is_fine(self, objects: ObjectStore) -> None:
        objects.put("gone", b"1")
        objects.delete("gone")
        objects.delete("gone")
        with pytest.raises(ObjectMissing):
            objects.get("gone")

    def test_of_sixteen_racing_creators_one_wins(self, objects: ObjectStore) -> None:
        winners = _race(lambda me: objects.put("race", me, if_absent=True))
        assert len(winners) == 1
        assert objects.get("race").data == winners[0]

    def test_of_sixteen_racing_swaps_one_wins(self, objects: ObjectStore) -> None:
        tag = objects.put("swap", b"start")
        winners = _race(lambda me: objects.put("swap", me, if_match=tag))
        assert len(winners) == 1
        assert objects.get("swap").data == winners[0]


def _race(write: Callable[[bytes], str]) -> list[bytes]:
    barrier = threading.Barrier(16)

    def compete(number: int) -> bytes | None:
        me = f"writer {number}".encode()
        barrier.wait(timeout=30)
        try:
            write(me)
        except PreconditionFailed:
            return None
        return me

    with ThreadPoolExecutor(16) as pool:
        return [won for won in pool.map(compete, range(16)) if won is not None]
