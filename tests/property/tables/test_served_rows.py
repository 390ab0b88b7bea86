"""What servers read is quantised once: base, chain of deltas and restart agree to the byte."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.manifest import Dtype
from millstream_core.checkpoint import Folder, live_rows, read_table, write_table
from millstream_core.store import ModelStore
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.versioned import VersionedTable
from tests.builders.objects import MemoryObjects

WIDTH = 5
NO_KEYS = np.empty(0, np.int64)
LINEAGE = "f" * 12
POOL = ThreadPoolExecutor(2)

writes = st.lists(st.sets(st.integers(-20, 20), min_size=1, max_size=8), min_size=1, max_size=6)


def make_table(served: Dtype) -> TrainingTable:
    columns = {
        "rows": ColumnSpec(dtype="float32", width=WIDTH, serve=served, uniform=0.05),
        "accumulator": ColumnSpec(dtype="float32", width=1),
    }
    return TrainingTable(columns, seed=3, max_rows=1 << 12)


def make_served(served: Dtype, table) -> VersionedTable:
    serve = {name: column for name, column in table.columns.items() if column.group == "serve"}
    assert serve["rows"].dtype == served
    return VersionedTable(serve, 1 << 12)


@settings(deadline=None, max_examples=60)
@given(writes, st.sampled_from(["float32", "float16", "int8rows"]), st.integers(0, 2**32 - 1))
def test_base_chain_and_restart_agree_to_the_byte(writes, served, seed) -> None:
    """R28: publish, load as a chain, load as a base, restore and publish again."""
    random = np.random.default_rng(seed)
    live, store = make_table(served), ModelStore(MemoryObjects(), "models", "shop")
    versions = []

    def publish(table: TrainingTable, *, whole: bool):
        folder = Folder(store, POOL, LINEAGE, f"data/{len(versions)}-a")
        sealed = seal(table.snapshot(whole=whole))
        written = write_table(folder, "item", sealed)
        table.committed(sealed)
        return written

    for number, keys in enumerate(writes):
        slots = live.admit(np.array(sorted(keys)))
        live.values("rows")[slots] += random.standard_normal((len(slots), WIDTH)).astype(np.float32)
        live.touch(slots)
        versions.append(publish(live, whole=number == 0))
    base = publish(live, whole=True)

    chain = None
    table = make_served(served, base)
    for number, version in enumerate(versions):
        rows = read_table(store, POOL, LINEAGE, version, groups=("serve",))
        chain = table.load(chain, rows.keys, rows.columns, NO_KEYS, whole=number == 0)
    rows = read_table(store, POOL, LINEAGE, base, groups=("serve",))
    whole = make_served(served, base).load(None, rows.keys, rows.columns, NO_KEYS, whole=True)
    for loaded in (chain, whole):
        assert loaded.digest == base.digest_after
        stored = loaded.table.values("rows")[loaded.slots(rows.keys)]
        assert stored.tobytes() == rows.columns["rows"].tobytes()

    again = make_table(served)
    for version in versions:
        again.restore(live_rows(again.columns, read_table(store, POOL, LINEAGE, version)))
    assert again.digest == base.digest_after
    republished = publish(again, whole=True)
    assert [shard.columns for shard in republished.shards] == [s.columns for s in base.shards]
