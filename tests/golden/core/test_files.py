"""The bytes of a version's files: what is in somebody's bucket must be read for ever.

`version.hex` holds every object of a tiny version, as written once. Both directions are held to
it: today's writer writes these bytes, and today's reader reads them. Rewrite with WRITE_GOLDEN=1
only together with a new format version, and keep the old file readable.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from millstream_api.manifest import Column, Dtype, ObjectRef, Shard, Table
from millstream_core.checkpoint import Folder, read_dense, read_table, write_dense, write_table
from millstream_core.store import ModelStore
from millstream_core.tables.digest import EMPTY_STATE
from millstream_core.tables.encoding import decode
from millstream_core.tables.snapshots import ColumnSpec, Rows, TableSnapshot, seal
from tests.builders.golden import same_as
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects

GOLDEN = Path(__file__).parent / "version.hex"
LINEAGE = "0123456789ab"
BELOW = f"shop/{LINEAGE}/data/1-a/"
KEYS = np.array([-(2**63), -7, 2**62], np.int64)
LIVE = np.array([[0.1, -0.25, 3.0], [0.0, 0.0, -0.0], [65504.0, 1e-7, -1.5]], np.float32)
ITEMS = np.array([[-(2**63), 5], [6, 7], [2**63 - 1, 8]], np.int64)
DENSE = {"head.0.bias": np.array([1.5, -2.0], np.float32), "candidates.new": np.array([2**62])}
# 257 is the step of the last row, the span of -1.5 to 65,504 in 255 parts.
QUANTISED = np.array(
    [
        np.float32([27, 0, 255]) * np.float32(np.uint16(0x2287).view(np.float16))
        - np.float32(0.25),
        [0, 0, 0],
        np.float32([255, 0, 0]) * np.float32(257) - np.float32(1.5),
    ],
    np.float32,
)
SERVED: dict[str, Dtype] = {"exact": "float32", "half": "float16", "bytes": "int8rows"}


def snapshot(columns: dict[str, ColumnSpec], rows: Rows) -> TableSnapshot:
    return TableSnapshot(
        specs=columns,
        seed=0,
        period=1,
        rows=rows,
        total=len(rows.keys),
        touched=len(rows.keys),
        hashes_before=np.zeros((len(rows.keys), 2), np.uint64),
        hashes_gone=np.zeros((len(rows.gone), 2), np.uint64),
        digest_before=EMPTY_STATE,
    )


def write(objects: MemoryObjects, pool: ThreadPoolExecutor) -> dict[str, Table]:
    folder = Folder(ModelStore(objects, "", "shop"), pool, LINEAGE, "data/1-a")
    tables = {}
    for name, served in SERVED.items():
        spec = ColumnSpec(dtype="float32", width=3, serve=served)
        accumulator = ColumnSpec(dtype="float32", width=1)
        rows = Rows(KEYS, {"rows": LIVE, "accumulator": LIVE[:, :1]})
        sealed = seal(snapshot({"rows": spec, "accumulator": accumulator}, rows))
        tables[name] = write_table(folder, name, sealed)
    items = ColumnSpec(dtype="int64", width=2, serve="int64")
    sealed = seal(snapshot({"items": items}, Rows(KEYS, {"items": ITEMS})))
    tables["history"] = write_table(folder, "history", sealed)
    write_dense(folder, "serve", DENSE)
    return tables


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as made:
        yield made


def golden() -> dict[str, bytes]:
    lines = [line.split(" ") for line in GOLDEN.read_text().splitlines()]
    return {name: bytes.fromhex(data) for name, data in lines}


def test_the_writer_writes_these_bytes(pool: ThreadPoolExecutor) -> None:
    objects = MemoryObjects()
    tables = write(objects, pool)
    lines = [
        f"{key.removeprefix(BELOW)} {stored.data.hex()}\n"
        for key, stored in sorted(objects.objects.items())
    ]
    lines += [f"digest/{name} {table.digest_after}\n" for name, table in sorted(tables.items())]
    assert same_as(GOLDEN, "".join(lines))


def stored(name: str) -> ObjectRef:
    """An object of the golden file, as a manifest names it."""
    data = golden()[name]
    return ObjectRef(
        path=f"data/1-a/{name}", bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )


@pytest.fixture
def store() -> ModelStore:
    objects = MemoryObjects()
    for name, data in golden().items():
        objects.put(BELOW + name, data)
    return ModelStore(objects, "", "shop")


@pytest.mark.parametrize("table", [*SERVED, "history"])
def test_the_reader_reads_these_bytes(
    store: ModelStore, pool: ThreadPoolExecutor, table: str
) -> None:
    """Built by hand and not by today's writer: evicted and erased keys are the keys' own bytes."""
    column, dtype, width = (
        ("items", "int64", 2) if table == "history" else ("rows", SERVED[table], 3)
    )
    file = f"serve/{table}/0-1023"
    gone = store.put_data(LINEAGE, "data/1-a/gone", bytes.fromhex("05" + 7 * "00"))
    lost = store.put_data(LINEAGE, "data/1-a/lost", bytes.fromhex(8 * "ff"))
    shard = Shard(
        group="serve",
        buckets=(0, 1024),
        rows=3,
        keys=stored(f"{file}.keys"),
        columns={column: stored(f"{file}.{column}")},
        evicted=gone,
        erased=lost,
    )
    described = Table(
        columns={column: Column(dtype=dtype, width=width, group="serve")},
        seed=0,
        rows=3,
        touched=3,
        digest_before=EMPTY_STATE,
        digest_after=EMPTY_STATE,
        shards=(shard,),
    )
    rows = read_table(store, pool, LINEAGE, described, groups=("serve",))
    assert rows.keys.tolist() == KEYS.tolist()
    assert rows.gone.tolist() == [-1, 5]
    expected = {
        "history": ITEMS,
        "exact": LIVE,
        "half": LIVE.astype(np.float16).astype(np.float32),
        # Levels 27, 0 and 255 of a step above the smallest value, and so on: see below.
        "bytes": QUANTISED,
    }
    np.testing.assert_array_equal(decode(rows.columns[column], dtype), expected[table])


def test_the_bytes_of_a_quantised_row_mean_what_the_module_says() -> None:
    """Counted out by hand: levels, step, smallest."""
    [row, zeros, wide] = np.frombuffer(golden()["serve/bytes/0-1023.rows"], np.uint8).reshape(3, 7)
    step, smallest = row[3:].view("<f2").astype(float)
    assert smallest == -0.25
    assert step == pytest.approx(3.25 / 255, rel=1e-3)
    assert (row[:3] * step + smallest).tolist() == pytest.approx([0.1, -0.25, 3.0], abs=step / 2)
    assert zeros.tolist() == [0] * 7
    assert wide[0] == 255


def test_the_reader_reads_these_weights(store: ModelStore) -> None:
    weights = stored("serve/dense.safetensors")
    found = read_dense(store, make_manifest(lineage=LINEAGE, dense={"serve": weights}), "serve")
    assert {name: array.tolist() for name, array in found.items()} == {
        name: array.tolist() for name, array in DENSE.items()
    }
