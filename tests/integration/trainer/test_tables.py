"""A whole trainer whose tables have rules, through versions, deaths and changes of mind."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from millstream_api.settings import SyntheticSource, TrainerSettings
from millstream_api.tables import TablesSpec
from millstream_core.checkpoint import read_table
from millstream_core.tables.overflow import Overflow
from millstream_serving.loading.shelf import Shelf
from millstream_trainer.model import LiveModel
from tests.builders.objects import MemoryObjects
from tests.builders.tables import by_key
from tests.builders.trainer import (
    START,
    DeadlyObjects,
    Killed,
    RecordSource,
    Run,
    VirtualClock,
    make_record,
    make_settings,
    manifests,
    state_of,
    store_of,
)

SECONDS = 16.0
RULES = {
    "user": {
        "admission": {"counter": {"threshold": 3}},
        "eviction": {"ttl": {"seconds": 3}},
    },
    "item": {
        "admission": {"countMin": {"threshold": 2, "width": 512, "halfLifeSeconds": 5}},
        "eviction": {"lfu": {"capacity": 60, "halfLifeSeconds": 5}, "l2": {"threshold": 0.1}},
    },
    "history": {"eviction": {"lfu": {"capacity": 30}}},
}


BUSY = SyntheticSource(start=START, seed=7, users=300, items=200, events_per_second=700)


def settings_with(rules: dict[str, Any], **overrides: Any) -> TrainerSettings:
    """A stream of many steps, so that there are sweeps between any two deaths."""
    return make_settings(tables=TablesSpec.model_validate(rules), synthetic=BUSY, **overrides)


def dump(model: LiveModel) -> dict[str, dict[str, list]]:
    """All that tables and admission hold, by value."""
    held = model.tables | model.admission_memory()
    snapshots = {name: by_key(memory.snapshot(whole=True).rows) for name, memory in held.items()}
    return {
        name: {"keys": rows.keys.tolist()}
        | {column: values.tolist() for column, values in rows.columns.items()}
        for name, rows in snapshots.items()
    }


def finished(objects: MemoryObjects, began: float = START) -> tuple[dict, dict]:
    """The state of a trainer that runs to the end, and that of its last version."""
    clock = VirtualClock(began, seconds=START + SECONDS - began)
    run = Run(objects, settings_with(RULES), clock=clock, process="last").run()
    versions = manifests(objects, run.settings)
    return dump(run.trainer.model), state_of(versions[max(versions)])


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict, dict]:
    return finished(MemoryObjects())


@pytest.mark.parametrize("seed", range(4))
def test_deaths_change_nothing(seed: int, undisturbed: tuple[dict, dict]) -> None:
    """R2, R7, R9: who waits, who has a row and who lost it is the same after any replay."""
    chance, objects, now = random.Random(seed), MemoryObjects(), START
    for death in range(6):
        clock = VirtualClock(now, seconds=START + SECONDS - 2 - now)
        deadly = DeadlyObjects(objects, chance.randint(1, 150), after=bool(seed % 2))
        with suppress(Killed):
            Run(deadly, settings_with(RULES), clock=clock, process=f"{death}").run()
        now = clock.now()
    assert finished(objects, now) == undisturbed


def test_a_memory_budget_changes_nothing(
    undisturbed: tuple[dict, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R9: the same rows, digests and weights with rows on disk, also after going on from there."""
    monkeypatch.setattr(Overflow, "memory_rows", lambda *_: 20)  # of a model that is small
    memory = {"memory": {"budget": "1Mi", "overflow": "1Gi"}}
    rules = {name: {**table, **memory} for name, table in RULES.items()}
    settings = settings_with(rules, overflow_folder=str(tmp_path))
    objects = MemoryObjects()
    Run(objects, settings, clock=VirtualClock(seconds=SECONDS / 2)).run()
    clock = VirtualClock(START + SECONDS / 2, seconds=SECONDS / 2)
    run = Run(objects, settings, clock=clock, process="last").run()
    versions = manifests(objects, settings)
    assert (dump(run.trainer.model), state_of(versions[max(versions)])) == undisturbed
    for table in RULES:
        assert run.value("table_disk_rows", table=table) > 0
        assert run.value("table_disk_bytes", table=table) > 0
        for tier in ("memory", "disk"):
            assert run.value("rows_read_total", table=table, tier=tier) > 0
    assert any(run.value("rows_moved_total", table=table) for table in RULES)


def test_every_rule_had_something_to_do(undisturbed: tuple[dict, dict]) -> None:
    run = Run(settings=settings_with(RULES), clock=VirtualClock(seconds=SECONDS)).run()
    assert dump(run.trainer.model) == undisturbed[0]
    for table, rule in [("user", "ttl"), ("item", "lfu"), ("item", "l2"), ("history", "lfu")]:
        assert run.value("rows_evicted_total", table=table, rule=rule) > 0
    for table in ("user", "item"):
        assert run.value("occurrences_waiting_total", table=table) > 0
        assert run.value("rows_admitted_total", table=table) > 0
        assert run.value("table_bytes", table=table) > 0
    for version in manifests(run.objects, run.settings).values():
        assert version.tables["item"].rows <= 60
        assert version.tables["history"].rows <= 30


def test_a_server_forgets_what_the_trainer_forgot() -> None:
    """R29: evicted keys read as unknown in the versions that evicted them."""
    run = Run(settings=settings_with(RULES), clock=VirtualClock(seconds=SECONDS)).run()
    versions, store = manifests(run.objects, run.settings), store_of(run.objects)
    newest = versions[max(versions)]
    ever: set[int] = set()
    gone = 0
    with ThreadPoolExecutor(2) as pool:
        for version in versions.values():
            for table in (version.tables["user"], version.tables["item"]):
                rows = read_table(store, pool, version.lineage, table, groups=("serve",))
                ever |= set(rows.keys.tolist())
                gone += len(rows.gone)
        shelf = Shelf(store, pool)
        shelf.load(newest.ref(), lambda _: True, lambda _: None)
    assert gone > 0
    served = shelf.held[newest.ref().digest]
    keys = np.array(sorted(ever), np.int64)
    for name in ("user", "item"):
        live = run.trainer.model.tables[name]
        assert ((served.tables[name].slots(keys) >= 0) == (live.slots(keys) >= 0)).all()


def users_seen(*counts: tuple[int, int]) -> RecordSource:
    """One event a second; (user, how often) one after another."""
    users = [user for user, count in counts for _ in range(count)]
    times = [START + second for second in range(len(users))]
    records = [
        make_record(user_id=user, event_time=time) for user, time in zip(users, times, strict=True)
    ]
    return RecordSource(records, times)


@pytest.mark.parametrize(
    "way",
    [
        {"counter": {"threshold": 30}},
        {"countMin": {"threshold": 30, "width": 64}},
    ],
    ids=["exact counts", "a sketch"],
)
@pytest.mark.parametrize("base_every", [1, 100], ids=["from a base", "from a delta"])
def test_killed_one_occurrence_before_admission(way: dict, base_every: int) -> None:
    """R2: killed between counts k - 1 and k, restored, the key is admitted exactly at k."""
    settings = settings_with({"user": {"admission": way}}, base_every=base_every)
    objects, user = MemoryObjects(), np.array([7])
    for until, has_row in [(28.5, False), (29.5, True)]:
        source = users_seen((7, 30))
        clock = VirtualClock(START + until - 20, seconds=20)
        model = Run(objects, settings, source, clock, process=f"{until}").run().trainer.model
        assert model.events == int(until + 1)
        assert (model.tables["user"].slots(user) >= 0).tolist() == [has_row]


def test_counts_of_a_way_of_admission_that_was_left_are_not_taken_up_again() -> None:
    """Keys could have been admitted and evicted meanwhile; what is remembered begins anew."""
    counting = settings_with(
        {"user": {"admission": {"counter": {"threshold": 30}}}}, base_every=100
    )
    everyone = make_settings(base_every=100)
    objects = MemoryObjects()
    for until, settings in [(20.5, counting), (24.5, everyone), (45.5, counting)]:
        source = users_seen((7, 20), (8, 5), (7, 1), (9, 40))
        clock = VirtualClock(START + until - 20, seconds=20)
        model = Run(objects, settings, source, clock, process=f"{until}").run().trainer.model
    waiting = dump(model)["user.waiting"]["keys"]
    assert waiting == [7, 9]
    slots = model.admission_memory()["user.waiting"].slots(np.array([7]))
    assert model.admission_memory()["user.waiting"].values("usage")[slots, 0].tolist() == [256]
