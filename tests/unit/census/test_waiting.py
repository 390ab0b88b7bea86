"""What a census says of keys without a row, as the ways of admission remember them."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_core.census import Waiting, count_waiting
from millstream_core.tables.lifecycle import Lifecycle
from millstream_core.tables.training import Rows
from tests.builders.tables import T0, make_life, train


def waiting(life: Lifecycle) -> Waiting:
    [(name, memory)] = life.admission.memory.items()
    return count_waiting(name, memory.snapshot(whole=True).rows)


def test_a_counter_knows_who_waits_and_for_how_long() -> None:
    life = make_life({"counter": {"threshold": 3}})
    train(life, [1, 2, 2, 3, 3, 3, 4], step=1)
    found = waiting(life)
    assert (found.memory, found.keys) == ("waiting", 3)
    assert [(each.low, each.rows) for each in found.occurrences] == [(1.0, 2), (2.0, 1)]
    assert found.bytes == 3 * (8 + 12)
    assert found.counters is None


@pytest.mark.parametrize("keys", [0, 1, 300, 3000])
@pytest.mark.parametrize("half_life", [None, 3600.0])
def test_a_sketch_knows_about_how_many_keys_it_has_counted(
    keys: int, half_life: float | None
) -> None:
    """Four standard errors of linear counting, which are less for the mean of several rows."""
    spec = {"threshold": 4, "width": 4096, "depth": 3, "halfLifeSeconds": half_life}
    life = make_life({"countMin": spec})
    for step in range(6):  # frequent keys are counted once
        train(life, range(keys if step == 0 else keys // 10), step, T0 + step)
    found = waiting(life)
    assert found.counters == 3 * 4096
    assert found.occupied is not None
    assert found.keys_counted is not None
    load = keys / 4096
    error = np.sqrt(4096 * (np.exp(load) - load - 1))
    assert abs(found.keys_counted - keys) <= 4 * error + 1
    assert found.keys is None


def test_counters_that_went_back_to_nothing_are_free() -> None:
    rows = Rows(np.array([0, 1, 16]), {"count": np.array([[1.0], [0.0], [2.0]], np.float32)})
    assert count_waiting("sketch-2x16", rows).occupied == 2


def test_a_full_sketch_does_not_guess() -> None:
    rows = Rows(np.arange(32), {"count": np.ones((32, 1), np.float32)})
    found = count_waiting("sketch-2x16", rows)
    assert (found.occupied, found.keys_counted) == (32, None)


def test_a_memory_of_a_later_release_is_told_by_its_size_alone() -> None:
    rows = Rows(np.arange(3), {"bits": np.ones((3, 1), np.uint32)})
    assert count_waiting("bloom-1", rows) == Waiting(memory="bloom-1", bytes=3 * (8 + 4))
