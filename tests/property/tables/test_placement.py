"""Where rows are changes nothing: a table with a memory budget against one without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_core.tables import overflow
from millstream_core.tables.lifecycle import SWEEP_STEPS, Lifecycle
from millstream_core.tables.snapshots import Rows, SealedTable, seal
from tests.builders.tables import T0, by_key, keys_of, make_life, make_overflow, sweep, train


@pytest.fixture(scope="module", autouse=True)
def _few_rows_are_enough() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overflow, "LEAST_ROWS", 1)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("overflow")


class Step(NamedTuple):
    keys: list[int]
    pause: int  # seconds of event time since the one before
    commit: str  # what becomes of a snapshot taken after it


STEPS = st.builds(
    Step,
    st.lists(st.integers(0, 400), max_size=60),
    st.sampled_from([0, 1, 4000]),
    st.sampled_from(["none", "fails", "succeeds", "succeeds a step later"]),
)
RULES = st.sampled_from([{}, {"ttl": {"seconds": 3}}, {"lfu": {"capacity": 50}}])


def same(found: Rows, expected: Rows) -> None:
    ours, theirs = by_key(found), by_key(expected)
    assert ours.keys.tolist() == theirs.keys.tolist()
    assert ours.gone.tolist() == theirs.gone.tolist()
    for name, column in ours.columns.items():
        assert column.tobytes() == theirs.columns[name].tobytes(), name


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 40), RULES, st.lists(STEPS, min_size=1, max_size=12))
def test_a_budget_changes_no_version(
    folder: Path, memory_rows: int, rules: dict, steps: list[Step]
) -> None:
    """R9: the same rows, account, tombstones and digests, whatever moves between versions."""
    plain = make_life(eviction=rules)
    tiered = make_life(eviction=rules, overflow=make_overflow(folder, memory_rows))
    lives: tuple[Lifecycle, ...] = (plain, tiered)
    on_the_way: list[SealedTable] = []
    now = T0
    for number, step in enumerate(steps, start=1):
        now += step.pause
        for life in lives:
            train(life, step.keys, number * SWEEP_STEPS, now)
            sweep(life, number * SWEEP_STEPS, now)
        assert keys_of(plain) == keys_of(tiered)
        for life, sealed in zip(lives, on_the_way, strict=False):
            life.table.committed(sealed)
        on_the_way = []
        if step.commit != "none":
            sealed_tables = [seal(life.table.snapshot(whole=False)) for life in lives]
            same(*(sealed.snapshot.rows for sealed in sealed_tables))
            assert sealed_tables[0].digest_after == sealed_tables[1].digest_after
            if step.commit == "succeeds":
                for life, sealed in zip(lives, sealed_tables, strict=True):
                    life.table.committed(sealed)
            elif step.commit == "succeeds a step later":
                on_the_way = sealed_tables
    for life, sealed in zip(lives, on_the_way, strict=False):
        life.table.committed(sealed)
    same(*(life.table.snapshot(whole=True).rows for life in lives))
    assert plain.table.digest == tiered.table.digest
    slots = tiered.table.all_slots()
    keys = tiered.table.keys_at(slots)
    assert np.array_equal(tiered.table.slots(keys), slots)
