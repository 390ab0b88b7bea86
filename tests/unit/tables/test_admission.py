"""Who gets a row, and when."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_core.tables.lifecycle import SWEEP_STEPS, Changes, Lifecycle
from millstream_core.tables.snapshots import seal
from tests.builders.tables import T0, keys_of, make_life, sweep, train

HOUR = 3600.0
WAYS = [
    pytest.param({"counter": {"threshold": 3}}, id="exact counts"),
    pytest.param({"countMin": {"threshold": 3, "width": 1024}}, id="a sketch"),
    pytest.param(
        {"countMin": {"threshold": 3, "width": 1024, "halfLifeSeconds": 1e9}},
        id="a sketch whose counts age",
    ),
]


def carried_over(life: Lifecycle, admission: dict, now: float, *, whole: bool = False) -> Lifecycle:
    """What a new process makes of a version that holds this state."""
    successor = make_life(admission)
    for name, memory in life.admission.memory.items():
        snapshot = memory.snapshot(whole=whole)
        memory.committed(seal(snapshot))
        successor.admission.memory[name].restore(snapshot.rows)
    successor.admission.resume(now)
    return successor


@pytest.mark.parametrize("admission", WAYS)
def test_a_key_gets_its_row_with_the_occurrence_that_reaches_the_threshold(admission: dict) -> None:
    """R2: not a step sooner, not a step later."""
    life = make_life(admission)
    assert train(life, [1, 2], step=1) == []
    assert train(life, [1, 3], step=2) == []
    assert train(life, [1, 2], step=3) == [1]
    assert train(life, [2], step=4) == [2]
    changes = life.take_changes()
    assert (changes.admitted, changes.turned_away) == (2, 5)
    assert life.take_changes() == Changes()


@pytest.mark.parametrize("admission", WAYS)
def test_occurrences_count_not_steps(admission: dict) -> None:
    assert train(make_life(admission), [1, 1, 1, 2, 2], step=1) == [1]


@pytest.mark.parametrize("admission", WAYS)
@pytest.mark.parametrize("whole", [False, True], ids=["from a delta", "from a base"])
def test_counts_survive_the_process(admission: dict, *, whole: bool) -> None:
    """R2: killed between counts k - 1 and k, restored, the key is admitted exactly at k."""
    life = make_life(admission)
    train(life, [1, 1, 2], step=1)
    restored = carried_over(life, admission, T0, whole=whole)
    assert train(restored, [1, 2], step=2) == [1]
    assert train(restored, [2], step=3) == [2]


@pytest.mark.parametrize("admission", WAYS)
def test_a_delta_holds_only_what_was_counted_since_the_last_one(admission: dict) -> None:
    life = make_life(admission)
    [memory] = life.admission.memory.values()
    train(life, range(100), step=1)
    memory.committed(seal(memory.snapshot(whole=False)))
    train(life, [5], step=2)
    cells = 4 if "countMin" in admission else 1
    assert len(memory.snapshot(whole=False).rows.keys) == cells


@pytest.mark.parametrize("admission", WAYS)
def test_what_was_counted_stays_in_the_next_delta_if_an_upload_fails(admission: dict) -> None:
    life = make_life(admission)
    train(life, [1, 1], step=1)
    for memory in life.admission.memory.values():
        memory.snapshot(whole=False)
    assert train(carried_over(life, admission, T0), [1], step=2) == [1]


def test_an_admitted_key_is_not_remembered_as_waiting() -> None:
    admission = {"counter": {"threshold": 2}}
    life = make_life(admission)
    train(life, [1, 2], step=1)
    carried_over(life, admission, T0)
    train(life, [1], step=2)
    [memory] = life.admission.memory.values()
    assert memory.snapshot(whole=True).rows.keys.tolist() == [2]
    assert memory.snapshot(whole=False).rows.gone.tolist() == [1]


def test_a_key_that_lost_its_row_waits_anew() -> None:
    life = make_life({"counter": {"threshold": 2}})
    assert train(life, [1, 1], step=1) == [1]
    life.table.evict(life.table.slots(np.array([1])))
    assert train(life, [1], step=2) == []
    assert train(life, [1], step=3) == [1]


def test_keys_wait_no_longer_than_rows_live() -> None:
    """Or the memory of what nobody trains would grow for ever."""
    life = make_life({"counter": {"threshold": 2}}, {"ttl": {"seconds": 60}})
    train(life, [1], step=SWEEP_STEPS - 1, time=T0)
    train(life, [2], step=SWEEP_STEPS, time=T0 + 61)
    sweep(life, step=SWEEP_STEPS, time=T0 + 61)
    assert train(life, [1, 2], step=SWEEP_STEPS + 1, time=T0 + 61) == [2]


def test_counts_in_a_sketch_halve_with_event_time() -> None:
    admission = {"countMin": {"threshold": 3, "width": 1024, "halfLifeSeconds": HOUR}}
    life = make_life(admission)
    train(life, [1, 1, 2, 2], step=1, time=T0)
    assert train(life, [1, 1], step=2, time=T0 + HOUR) == [1], "2 / 2 and 2 make 3"
    assert train(life, [2], step=3, time=T0 + HOUR) == [], "2 / 2 and 1 make 2"


@pytest.mark.parametrize("passed", [33 * HOUR, 1000 * HOUR, 1e8], ids=lambda passed: f"{passed} s")
@pytest.mark.parametrize("is_restored", [False, True], ids=["the same process", "a new one"])
def test_a_sketch_outlives_any_number_of_half_lives(passed: float, *, is_restored: bool) -> None:
    """Also where it was restored before the time that passed: its cells are of then."""
    admission = {"countMin": {"threshold": 3, "width": 64, "halfLifeSeconds": HOUR}}
    life = make_life(admission)
    train(life, [1, 1], step=1, time=T0)
    if is_restored:
        life = carried_over(life, admission, T0)
    assert train(life, [1, 1], step=2, time=T0 + passed) == []
    assert train(life, [1], step=3, time=T0 + passed) == [1]


@pytest.mark.parametrize("after", range(10))
def test_rounding_makes_no_key_late(after: int) -> None:
    life = make_life({"countMin": {"threshold": 9, "width": 1024, "halfLifeSeconds": 7}})
    for step in range(8):
        assert train(life, [1], step, time=T0 + after) == []
    assert train(life, [1], step=9, time=T0 + after) == [1]


def test_a_full_sketch_admits_too_soon_but_never_too_late() -> None:
    life = make_life({"countMin": {"threshold": 3, "width": 16, "depth": 2}})
    for step in range(3):
        known = train(life, range(100), step=step)
    assert known == list(range(100))
    assert train(life, [1000], step=4) == [1000], "every cell is at the threshold"


def test_chance_admits_its_share_of_occurrences() -> None:
    """R9: by key, step and seed alone, so that a replay admits the same keys."""
    lives = [make_life({"probabilistic": {"probability": 0.25}}) for _ in range(2)]
    once, again = (train(life, range(4000), step=5) for life in lives)
    assert once == again
    assert len(once) == pytest.approx(1000, abs=100)
    of_the_rest = train(lives[0], range(4000), step=6)
    assert len(of_the_rest) == pytest.approx(1750, abs=130), "another step, another chance"
    two_chances = make_life({"probabilistic": {"probability": 0.25}})
    assert len(train(two_chances, [*range(4000)] * 2, step=5)) == pytest.approx(1750, abs=130)


def test_without_admission_every_key_has_a_row_at_once() -> None:
    assert train(make_life(), [3, 1, 2], step=1) == [1, 2, 3]


def test_looking_up_counts_nothing() -> None:
    """R2: scoring and evaluation read the table, and neither counts nor refreshes anything."""
    life = make_life({"counter": {"threshold": 2}})
    train(life, [1, 1, 2], step=1)
    before = life.table.values("usage")[life.table.slots(np.array([1]))].tolist()
    for _ in range(3):
        life.table.slots(np.array([1, 2]))
    assert life.table.values("usage")[life.table.slots(np.array([1]))].tolist() == before
    assert keys_of(life) == [1]
