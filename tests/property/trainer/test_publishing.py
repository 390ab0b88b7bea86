"""What holds of every publish decision, and of the rows that failed publishes leave behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.settings import TrainerSettings
from millstream_core.checkpoint import Folder, read_table, write_table
from millstream_core.store import StoreUnavailable
from millstream_core.tables.snapshots import ColumnSpec, Rows, seal
from millstream_core.tables.training import TrainingTable
from millstream_trainer.publishing.decisions import (
    LONGEST_RETRY_SECONDS,
    LastVersion,
    TrainingProgress,
    decide_publish,
    retry_delay,
)
from tests.builders.objects import MemoryObjects
from tests.builders.tables import by_key
from tests.builders.trainer import make_settings, store_of

times = st.floats(0, 1e6)
progresses = st.builds(
    TrainingProgress,
    events=st.integers(0, 20_000),
    event_seconds=times,
    knows_store=st.booleans(),
    is_publishing=st.booleans(),
    is_draining=st.booleans(),
    retry_at=times,
)
lasts = st.none() | st.builds(
    LastVersion,
    events=st.integers(0, 20_000),
    taken_at=times,
    chain_length=st.integers(0, 50),
)
settings_of_all_kinds = st.builds(
    make_settings,
    publish_interval_seconds=st.floats(0.1, 1000),
    publish_events=st.none() | st.integers(1, 20_000),
    base_every=st.integers(1, 20),
)


@given(progresses, lasts, times, settings_of_all_kinds)
def test_every_decision_is_allowed_and_has_a_reason(
    progress: TrainingProgress, last: LastVersion | None, now: float, rules: TrainerSettings
) -> None:
    decision = decide_publish(progress, last, now, rules)
    assert decision.reason
    if decision.kind is None:
        return
    assert progress.knows_store
    assert not progress.is_publishing
    assert progress.events != (last.events if last else 0)
    assert progress.is_draining or now >= progress.retry_at
    if decision.kind == "delta":
        assert last is not None
        assert last.chain_length + 1 < rules.base_every


@given(progresses, lasts, times, settings_of_all_kinds, st.floats(0, 1e6))
def test_what_is_due_stays_due(
    progress: TrainingProgress,
    last: LastVersion | None,
    now: float,
    rules: TrainerSettings,
    later: float,
) -> None:
    """Waiting never turns a version that is due into one that is not."""
    kind = decide_publish(progress, last, now, rules).kind
    if kind is not None:
        assert decide_publish(progress, last, now + later, rules).kind == kind


@given(st.integers(1, 20), st.integers(1, 40))
def test_chains_are_bounded(base_every: int, versions: int) -> None:
    """Of any base_every versions in a row one is a base."""
    rules = make_settings(base_every=base_every, publish_interval_seconds=1)
    last, kinds = None, []
    for number in range(versions):
        progress = TrainingProgress(
            events=10_000 + number,
            event_seconds=0,
            knows_store=True,
            is_publishing=False,
            is_draining=False,
        )
        decision = decide_publish(progress, last, float(number), rules)
        assert decision.kind is not None
        length = 0 if decision.kind == "base" or last is None else last.chain_length + 1
        last = LastVersion(events=10_000 + number, taken_at=float(number), chain_length=length)
        kinds.append(decision.kind)
    for first in range(versions - base_every + 1):
        assert "base" in kinds[first : first + base_every]


@given(st.integers(1, 10**9))
def test_retries_come_sooner_or_later(failures: int) -> None:
    assert 0 < retry_delay(failures) <= LONGEST_RETRY_SECONDS
    assert retry_delay(failures + 1) >= retry_delay(failures)


COLUMNS = {
    "rows": ColumnSpec(dtype="float32", width=2, serve="float32", uniform=0.1),
    "accumulator": ColumnSpec(dtype="float32", width=1),
}
Writes = tuple[list[int], list[int]]  # keys written, then keys evicted
writes = st.tuples(
    st.lists(st.integers(-50, 50), max_size=20), st.lists(st.integers(-50, 50), max_size=5)
)
rounds = st.lists(st.tuples(writes, writes, st.booleans(), st.booleans()), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(rounds)
def test_committed_deltas_add_up_to_the_live_table(
    rounds: list[tuple[Writes, Writes, bool, bool]],
) -> None:
    """R5: rows change, are snapshot, and change again during the upload, which fails or not."""
    live, objects, versions = TrainingTable(COLUMNS, seed=1, max_rows=1 << 12), MemoryObjects(), []
    store, value = store_of(objects), 0.0

    def write(keys: list[int], evicted: list[int]) -> None:
        nonlocal value
        slots = live.admit(np.array(keys, np.int64))
        for slot in slots:
            value += 1
            live.values("rows")[slot], live.values("accumulator")[slot] = value, -value
        live.touch(slots)
        slots = live.slots(np.array(sorted(set(evicted)), np.int64))
        live.evict(slots[slots >= 0])

    nothing: Writes = ([], [])
    with ThreadPoolExecutor(1) as pool:
        for number, (before, during, fails, whole) in enumerate(
            [*rounds, (nothing, nothing, False, False)]
        ):
            write(*before)
            snapshot = live.snapshot(whole=whole)
            write(*during)
            objects.fail_with = StoreUnavailable("away") if fails else None
            folder = Folder(store, pool, "f" * 12, f"data/{number}-a")
            try:
                sealed = seal(snapshot)
                table = write_table(folder, "user", sealed)
            except StoreUnavailable:
                continue
            live.committed(sealed)
            versions.append(table)
        objects.fail_with = None
        again = TrainingTable(COLUMNS, seed=1, max_rows=1 << 12)
        for table in versions:
            read = read_table(store, pool, "f" * 12, table)
            again.restore(Rows(read.keys, read.columns, read.gone))
            assert again.digest == table.digest_after
    assert not len(live.snapshot(whole=False).rows.keys)
    expected, found = (by_key(table.snapshot(whole=True).rows) for table in (live, again))
    assert found.keys.tolist() == expected.keys.tolist()
    for column, values in expected.columns.items():
        np.testing.assert_array_equal(found.columns[column], values)
