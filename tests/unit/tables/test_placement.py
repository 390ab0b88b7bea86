"""Which rows come into memory, and which have to leave it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from millstream_core.tables.lifecycle import SWEEP_STEPS, Lifecycle
from millstream_core.tables.overflow import LEAST_ROWS
from millstream_core.tables.placement import HALF_LIFE_SECONDS, SHARE, exchanges
from tests.builders.tables import T0, make_life, make_overflow, sweep, train

FIRST = range(LEAST_ROWS)  # keys whose rows are begun in memory
LATER = range(LEAST_ROWS, LEAST_ROWS + 100)  # keys whose rows are begun on disk


@pytest.fixture
def life(tmp_path: Path) -> Lifecycle:
    """Each row trained once, and looked at."""
    life = make_life(
        eviction={"ttl": {"seconds": 1e6}}, overflow=make_overflow(tmp_path, LEAST_ROWS)
    )
    train(life, FIRST, step=1)
    train(life, LATER, step=2)
    sweep(life, SWEEP_STEPS)
    assert are_in_memory(life, FIRST).all()
    assert not are_in_memory(life, LATER).any()
    return life


def are_in_memory(life: Lifecycle, keys: range | list[int]) -> np.ndarray:
    slots = life.table.slots(np.array(keys))
    assert (slots >= 0).all()
    return slots < life.table.memory_rows


def place(life: Lifecycle, time: float = T0) -> None:
    sweep(life, 2 * SWEEP_STEPS, time)


def test_what_is_trained_often_comes_into_memory(life: Lifecycle) -> None:
    train(life, [1050, 1050], step=SWEEP_STEPS + 1)
    place(life)
    assert are_in_memory(life, LATER).sum() == 1
    assert are_in_memory(life, [1050]).all()
    assert not are_in_memory(life, [0]).any(), "the smallest key of those that are equally cold"
    assert are_in_memory(life, FIRST).sum() == LEAST_ROWS - 1
    assert life.take_changes().moved == 1


def test_rows_that_are_worth_about_the_same_stay(life: Lifecycle) -> None:
    train(life, FIRST, step=SWEEP_STEPS + 1)
    train(life, [*LATER, *LATER], step=SWEEP_STEPS + 2)
    place(life)
    assert are_in_memory(life, FIRST).all(), "3 uses are less than twice 2"


def test_what_was_used_long_ago_makes_room(life: Lifecycle) -> None:
    train(life, [*FIRST, *FIRST], step=SWEEP_STEPS + 1)
    later = T0 + 4 * HALF_LIFE_SECONDS
    train(life, [1050], step=SWEEP_STEPS + 2, time=later)
    place(life, later)
    assert are_in_memory(life, [1050]).all()


def test_what_is_popular_now_comes_before_what_was(life: Lifecycle) -> None:
    later = T0 + 9 * HALF_LIFE_SECONDS
    train(life, [*range(1024, 1100)] * 8, step=SWEEP_STEPS + 1)
    train(life, range(1100, 1124), step=SWEEP_STEPS + 2, time=later)
    place(life, later)
    assert are_in_memory(life, range(1100, 1124)).all()


def test_of_equally_warm_rows_the_smallest_key_comes(life: Lifecycle) -> None:
    """R9: among equals chance has no say."""
    train(life, [key for key in FIRST if key != 9], step=SWEEP_STEPS + 1)
    train(life, [1040, 1030] * 2, step=SWEEP_STEPS + 2)
    place(life)
    assert are_in_memory(life, [9, 1030, 1040]).tolist() == [False, True, False]


def test_what_was_not_trained_since_is_not_looked_at(life: Lifecycle) -> None:
    train(life, [1050] * 4, step=SWEEP_STEPS + 1)
    assert not len(exchanges(life.table, since_step=SWEEP_STEPS + 2)[0])
    in_memory, on_disk = exchanges(life.table, since_step=SWEEP_STEPS + 1)
    assert life.table.keys_at(on_disk).tolist() == [1050]
    assert life.table.keys_at(in_memory).tolist() == [0]


def test_only_so_many_move_at_once(life: Lifecycle) -> None:
    """The warmest ones: what a step barrier costs is bounded."""
    train(life, [*LATER, *LATER, *LATER], step=SWEEP_STEPS + 1)
    train(life, range(1040, 1124), step=SWEEP_STEPS + 2)
    place(life)
    most = LEAST_ROWS // SHARE
    assert are_in_memory(life, range(1040, 1124)).sum() == most
    assert are_in_memory(life, LATER).sum() == most


def test_free_places_in_memory_are_filled_first(life: Lifecycle) -> None:
    """Also by rows that are worth no more than others there."""
    life.table.evict(life.table.slots(np.array([5, 6])))
    train(life, LATER, step=SWEEP_STEPS + 1)
    place(life)
    assert are_in_memory(life, LATER).sum() == 2
    assert are_in_memory(life, [*range(5), *range(7, LEAST_ROWS)]).all()
    [first, second] = life.table.admit(np.array([7000, 7001]))
    assert min(first, second) >= LEAST_ROWS, "the places on disk are free now, and once only"
    assert first != second
    keys = life.table.keys_at(life.table.all_slots())
    assert len(set(keys.tolist())) == len(life.table) == LEAST_ROWS + 100
