"""The index of the training table at size and at its bounds."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_core.tables.slots import SlotIndex


def test_five_million_keys_come_and_go() -> None:
    """R1: each is found where it was put, and none once it is removed."""
    index = SlotIndex(1 << 23)
    keys = np.sort(np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 5_000_000))
    assert (keys[1:] > keys[:-1]).all()
    slots, new = index.insert(keys)
    assert len(new) == len(keys) == len(index)
    assert np.array_equal(np.sort(slots), np.arange(len(keys)))
    gone, kept = keys[::2], keys[1::2]
    assert np.array_equal(index.remove(gone), slots[::2])
    assert (index.lookup(gone) < 0).all()
    assert np.array_equal(index.lookup(kept), slots[1::2])
    index.insert(gone)
    assert np.array_equal(index.lookup(kept), slots[1::2])
    assert index.end == len(keys), "free slots were used again"


def test_look_ups_are_as_quick_after_many_removals() -> None:
    """Cells that removed keys left behind would make every look-up of a stranger go round."""
    index = SlotIndex(1 << 12)
    for start in range(0, 200_000, 1_000):
        keys = np.arange(start, start + 1_000)
        index.insert(keys)
        index.remove(keys)
    assert index.bytes == 1024 * 16 * 2 + index.end * 13
    assert (index.lookup(np.arange(200_000)) < 0).all()


@pytest.mark.parametrize("more", [[5], [1, 2, 5, 5], [6, 7, 8]], ids=str)
def test_a_full_index_says_so_and_stays_as_it_is(more: list[int]) -> None:
    """R1: no insertion fails silently."""
    index = SlotIndex(4)
    index.insert(np.array([1, 2, 3, 4]))
    with pytest.raises(MemoryError, match="raise its max_rows"):
        index.insert(np.array(more))
    assert len(index) == 4
    assert index.lookup(np.array([1, 2, 3, 4, *more])).tolist()[:4] == [0, 1, 2, 3]
    index.insert(np.array([4, 3, 2, 1, 1, 1]))
    index.remove(np.array([2]))
    assert index.insert(np.array([9]))[0].tolist() == [1]
