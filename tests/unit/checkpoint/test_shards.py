"""Large tables are many shards: none large, none with another's keys, together the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from millstream_core.checkpoint import (
    Folder,
    live_rows,
    part_reads,
    read_table,
    shards,
    write_table,
)
from millstream_core.store import IntegrityError, ModelStore
from millstream_core.tables.hashing import BUCKETS, buckets_of
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from tests.builders.objects import MemoryObjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_api.manifest import Table

SPECS = {
    "rows": ColumnSpec(dtype="float32", width=4, serve="float16", uniform=0.1),
    "accumulator": ColumnSpec(dtype="float32", width=1),
}
ROW_BYTES = 4 * 2 + 4 * 4 + 4  # as served, as live, and the accumulator
KEYS = np.random.default_rng(5).permutation(np.arange(-500, 500, dtype=np.int64))


@pytest.fixture
def folder() -> Iterator[Folder]:
    with ThreadPoolExecutor(4) as pool:
        yield Folder(ModelStore(MemoryObjects(), "", "shop"), pool, "l", "data/1-a")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of about a hundred rows."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 100 * ROW_BYTES)


def trained() -> TrainingTable:
    table = TrainingTable(SPECS, seed=3)
    table.admit(KEYS)
    return table


def written(folder: Folder, table: TrainingTable) -> Table:
    return write_table(folder, "item", seal(table.snapshot(whole=True)))


def test_a_shard_holds_the_keys_of_its_buckets_ascending(folder: Folder) -> None:
    table = written(folder, trained())
    assert len(table.shards) == 2 * 16
    for part, shard in zip(
        part_reads(folder.store, folder.pool, "l", table), table.shards, strict=False
    ):
        keys = part.read().keys
        first, end = shard.buckets
        assert len(keys) == shard.rows < 100
        assert (keys[1:] > keys[:-1]).all()
        assert set(buckets_of(keys)) <= set(range(first, end))


def test_many_shards_read_as_one_would(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    many = read_table(folder.store, folder.pool, "l", written(folder, trained()))
    monkeypatch.undo()
    other = Folder(folder.store, folder.pool, "l", "data/2-a")
    one = read_table(folder.store, folder.pool, "l", written(other, trained()))
    order = np.argsort(many.keys)
    assert np.array_equal(many.keys[order], one.keys)
    assert many.columns.keys() == one.columns.keys()
    assert all(np.array_equal(many.columns[name][order], one.columns[name]) for name in one.columns)


def test_a_table_comes_back_from_its_parts(folder: Folder) -> None:
    """Rows and tombstones, in whatever order parts are taken."""
    live, back = trained(), TrainingTable(SPECS, seed=3)
    base = seal(live.snapshot(whole=True))
    tables = [write_table(folder, "item", base)]
    live.committed(base)
    live.evict(live.slots(KEYS[:300]))
    slots = live.slots(KEYS[300:])
    live.values("rows")[slots] += 1
    live.touch(slots)
    delta = seal(live.snapshot(whole=False))
    tables.append(write_table(Folder(folder.store, folder.pool, "l", "data/2-a"), "item", delta))
    live.committed(delta)
    assert all(len(table.shards) > 2 for table in tables)
    for table in tables:
        for part in part_reads(folder.store, folder.pool, "l", table)[::-1]:
            back.restore(live_rows(SPECS, part.read()))
    assert back.digest == live.digest
    assert sorted(back.keys_at(back.all_slots())) == sorted(KEYS[300:])
    gone = read_table(folder.store, folder.pool, "l", tables[1]).gone
    assert sorted(gone) == sorted(KEYS[:300])


def test_a_key_beyond_the_buckets_of_its_shard_is_refused(folder: Folder) -> None:
    """Else two shards could hold the same key, and no reader of parts would notice."""
    table = written(folder, trained())
    [first, second] = [shard for shard in table.shards if shard.group == "serve"][:2]
    stray = second.changed(buckets=first.buckets)
    with pytest.raises(IntegrityError, match=r"names keys beyond the buckets 0 to 64"):
        read_table(folder.store, folder.pool, "l", table.changed(shards=[stray]), ["serve"])


def test_a_tombstone_beyond_the_buckets_of_its_shard_is_refused(folder: Folder) -> None:
    table = written(folder, trained())
    [shard] = [shard for shard in table.shards if shard.group == "serve"][:1]
    other = next(key for key in range(1000, 2000) if buckets_of(np.array([key]))[0] >= BUCKETS // 2)
    stray = shard.changed(evicted=folder.put("stray", np.array([other]).tobytes()))
    with pytest.raises(IntegrityError, match="names keys beyond the buckets"):
        read_table(folder.store, folder.pool, "l", table.changed(shards=[stray]), ["serve"])


def test_groups_of_different_shards_are_refused(folder: Folder) -> None:
    table = written(folder, trained())
    other = [shard for shard in table.shards if shard.group == "serve" or shard.buckets[0] > 0]
    with pytest.raises(IntegrityError, match="no shard holds some of the columns"):
        read_table(folder.store, folder.pool, "l", table.changed(shards=other))


def test_a_table_without_rows_is_one_shard(folder: Folder) -> None:
    table = written(folder, TrainingTable(SPECS, seed=3))
    assert [shard.buckets for shard in table.shards] == [(0, BUCKETS)] * 2
    assert len(read_table(folder.store, folder.pool, "l", table).keys) == 0
