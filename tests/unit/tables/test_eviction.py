"""Who loses a row, when, and what is left."""

from __future__ import annotations

import numpy as np

from millstream_core.features import PAD
from millstream_core.tables.lifecycle import SWEEP_STEPS, Lifecycle
from millstream_core.tables.usage import ONE
from tests.builders.tables import T0, keys_of, make_life, sweep, train

HOUR = 3600.0


def usage_of(life: Lifecycle, key: int) -> list[int]:
    [usage] = life.table.values("usage")[life.table.slots(np.array([key]))].tolist()
    return usage


def set_rows(life: Lifecycle, values: dict[int, float]) -> None:
    for key, value in values.items():
        life.table.values("rows")[life.table.slots(np.array([key]))] = value


def test_usage_tells_how_often_and_when_last() -> None:
    life = make_life()
    train(life, [1, 1, 2], step=4, time=T0)
    train(life, [1], step=9, time=T0 + 2.7)
    assert usage_of(life, 1) == [3 * ONE, 9, T0 + 2]
    assert usage_of(life, 2) == [ONE, 4, T0]


def test_an_event_that_comes_late_does_not_make_a_row_older() -> None:
    life = make_life(eviction={"lfu": {"capacity": 9, "halfLifeSeconds": HOUR}})
    train(life, [1], step=1, time=T0 + HOUR)
    train(life, [1], step=2, time=T0)
    assert usage_of(life, 1) == [ONE + ONE // 2, 2, T0 + HOUR]


def test_frequencies_halve_with_event_time() -> None:
    life = make_life(eviction={"lfu": {"capacity": 9, "halfLifeSeconds": HOUR}})
    train(life, [1] * 4, step=1, time=T0)
    train(life, [1], step=2, time=T0 + 2 * HOUR)
    assert usage_of(life, 1)[0] == 2 * ONE


def test_the_account_saturates() -> None:
    life = make_life()
    train(life, [1], step=1)
    life.table.values("usage")[life.table.slots(np.array([1])), 0] = 2**32 - 2
    train(life, [1, 1], step=2)
    assert usage_of(life, 1)[0] == 2**32 - 1


def test_rows_go_after_their_time_in_the_stream() -> None:
    """R4: by event time; what the clock on the wall says plays no part."""
    life = make_life(eviction={"ttl": {"seconds": 60}})
    train(life, [1, 2], step=1, time=T0)
    train(life, [2], step=2, time=T0 + 1)
    sweep(life, step=SWEEP_STEPS, time=T0 + 60)
    assert keys_of(life) == [1, 2]
    sweep(life, step=2 * SWEEP_STEPS, time=T0 + 61)
    assert keys_of(life) == [2]
    assert life.take_changes().evicted == {"ttl": 1}


def test_rows_that_are_next_to_nothing_go() -> None:
    life = make_life(eviction={"l2": {"threshold": 0.2}})
    train(life, [1, 2, 3], step=1)
    set_rows(life, {1: 0.099, 2: 0.1, 3: -0.2})  # norms 0.198, 0.2, 0.4 in four values
    sweep(life, step=SWEEP_STEPS)
    assert keys_of(life) == [2, 3]
    train(life, [3], step=SWEEP_STEPS + 1)
    set_rows(life, {3: 0.01})
    sweep(life, step=2 * SWEEP_STEPS)
    assert keys_of(life) == [2]


def test_the_least_often_trained_go_when_there_are_too_many() -> None:
    """R9: the smaller key first among equals."""
    life = make_life(eviction={"lfu": {"capacity": 3}})
    train(life, [1, 2, 2, 3, 4, 5, 5], step=1)
    sweep(life, step=1)
    assert keys_of(life) == [2, 4, 5]
    assert life.take_changes().evicted == {"lfu": 2}


def test_lately_is_worth_more_than_long_ago() -> None:
    life = make_life(eviction={"lfu": {"capacity": 1, "halfLifeSeconds": HOUR}})
    train(life, [1] * 4, step=1, time=T0)
    train(life, [2] * 3, step=2, time=T0 + HOUR)
    sweep(life, step=2, time=T0 + HOUR)
    assert keys_of(life) == [2]


def test_a_large_table_makes_a_little_room_at_once() -> None:
    life = make_life(eviction={"lfu": {"capacity": 640}})
    train(life, range(641), step=1)
    sweep(life, step=1)
    assert keys_of(life) == list(range(11, 641))


def test_only_a_full_table_is_swept_between_two_sweeps() -> None:
    life = make_life(eviction={"ttl": {"seconds": 60}, "lfu": {"capacity": 2}})
    train(life, [1, 2], step=1, time=T0)
    sweep(life, step=SWEEP_STEPS - 1, time=T0 + 100)
    assert keys_of(life) == [1, 2]
    train(life, [3], step=SWEEP_STEPS - 1, time=T0 + 100)
    sweep(life, step=SWEEP_STEPS - 1, time=T0 + 100)
    assert keys_of(life) == [3]


def test_several_rules_apply_together() -> None:
    life = make_life(
        eviction={"ttl": {"seconds": 60}, "l2": {"threshold": 0.2}, "lfu": {"capacity": 2}}
    )
    train(life, [1], step=1, time=T0)
    train(life, [2, 3, 3, 4, 4, 5], step=2, time=T0 + 61)
    set_rows(life, dict.fromkeys([1, 3, 4, 5], 1.0) | {2: 0.0})
    sweep(life, step=2, time=T0 + 61)
    assert keys_of(life) == [3, 4]
    assert life.take_changes().evicted == {"ttl": 1, "l2": 1, "lfu": 1}


def test_a_key_that_comes_back_begins_anew() -> None:
    """R4: nothing of the old row is left, nor of whoever had the slot meanwhile."""
    life, fresh = make_life(), make_life()
    for step in range(5):
        train(life, [1, 2], step=step)
    set_rows(life, {1: 5.0, 2: 7.0})
    life.table.evict(life.table.slots(np.array([1, 2])))
    train(life, [3], step=6)  # takes one of the two slots
    train(life, [1, 2], step=7)
    train(fresh, [1, 2], step=7)
    for key in (1, 2):
        for column in ("rows", "accumulator", "usage"):
            ours, theirs = (
                one.table.values(column)[one.table.slots(np.array([key]))] for one in (life, fresh)
            )
            assert np.array_equal(ours, theirs)


def test_the_row_that_unknown_keys_share_stays() -> None:
    life = make_life(
        eviction={"ttl": {"seconds": 1}, "l2": {"threshold": 9.0}, "lfu": {"capacity": 1}}
    )
    life.table.admit(np.array([PAD]))
    train(life, [1], step=1)
    sweep(life, step=1, time=T0 + 100)
    assert keys_of(life) == [PAD]


def test_evicted_keys_do_not_come_back_with_the_dump() -> None:
    life = make_life(eviction={"ttl": {"seconds": 60}})
    train(life, [1], step=1, time=T0)
    train(life, [2], step=2, time=T0 + 61)
    sweep(life, step=SWEEP_STEPS, time=T0 + 61)
    assert life.table.snapshot(whole=True).rows.keys.tolist() == [2]
    assert keys_of(life) == [2]


def test_the_least_are_those_of_a_sort() -> None:
    """R9: whatever the frequencies are like, many equal ones too; by frequency, then key."""
    draw = np.random.default_rng(0)
    for most in (1, 3, 2**32 - 1):
        life = make_life(eviction={"lfu": {"capacity": 3000}})
        keys = draw.choice(np.arange(-(2**40), 2**40, 2**21 + 1), 5000, replace=False)
        slots = life.table.admit(keys)
        frequencies = draw.integers(1, most, 5000, endpoint=True)
        life.table.values("usage")[slots, 0] = frequencies
        sweep(life, step=1)
        order = np.lexsort([keys, frequencies])
        assert keys_of(life) == sorted(keys[order[2000 + 3000 // 64 :]].tolist())
