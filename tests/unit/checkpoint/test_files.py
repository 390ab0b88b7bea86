"""Tables written and read back are the same; files that lie are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from millstream_core.checkpoint import Folder, read_dense, read_table, write_dense, write_table
from millstream_core.store import IntegrityError, ModelStore
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_api.manifest import Table

SPECS = {
    "rows": ColumnSpec(dtype="float32", width=4, serve="float32", uniform=0.1),
    "accumulator": ColumnSpec(dtype="float32", width=1),
}


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def folder(objects: MemoryObjects) -> Iterator[Folder]:
    with ThreadPoolExecutor(4) as pool:
        yield Folder(ModelStore(objects, "", "shop"), pool, "l", "data/1-a")


@pytest.fixture
def table(folder: Folder) -> Table:
    trained = TrainingTable(SPECS, seed=3)
    trained.admit(np.array([5, -7, 2**62]))
    return write_table(folder, "item", seal(trained.snapshot(whole=True)))


def test_rows_come_back_in_key_order_with_all_columns(folder: Folder, table: Table) -> None:
    rows = read_table(folder.store, folder.pool, "l", table)
    assert rows.keys.tolist() == [-7, 5, 2**62]
    assert rows.columns.keys() == {"rows", "accumulator"}
    assert rows.columns["rows"].shape == (3, 4)
    assert rows.gone.tolist() == []


def test_keys_that_left_are_told_to_both_groups(folder: Folder) -> None:
    trained = TrainingTable(SPECS, seed=3)
    slots = trained.admit(np.array([5, -7, 2**62]))
    trained.committed(seal(trained.snapshot(whole=True)))
    trained.evict(slots[1:])
    table = write_table(folder, "item", seal(trained.snapshot(whole=False)))
    for groups in (("serve",), ("train",)):
        rows = read_table(folder.store, folder.pool, "l", table, groups)
        assert rows.gone.tolist() == [-7, 2**62]
        assert rows.keys.tolist() == []


def test_a_server_fetches_no_training_state(
    folder: Folder, table: Table, objects: MemoryObjects
) -> None:
    """R19: the train group may even be gone."""
    for key in [key for key in objects.objects if "/train/" in key]:
        objects.delete(key)
    rows = read_table(folder.store, folder.pool, "l", table, groups=("serve",))
    assert rows.columns.keys() == {"rows"}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        pytest.param("serve/item/0-1023.keys", "Truncated", id="keys cut"),
        pytest.param("serve/item/0-1023.rows", "Truncated", id="rows cut"),
    ],
)
def test_a_cut_file_is_refused(
    folder: Folder, table: Table, objects: MemoryObjects, file: str, reason: str
) -> None:
    objects.damage(file, lambda data: data[:-8])
    with pytest.raises(IntegrityError) as refused:
        read_table(folder.store, folder.pool, "l", table)
    assert refused.value.reason == reason


def _rewritten(folder: Folder, table: Table, **arrays: bytes) -> Table:
    """The table with serve files replaced by a writer that got its own digests right."""
    [serve] = [shard for shard in table.shards if shard.group == "serve"]
    keys = folder.put("k", arrays["keys"]) if "keys" in arrays else serve.keys
    columns = {"rows": folder.put("r", arrays["rows"])} if "rows" in arrays else serve.columns
    return table.changed(shards=[serve.changed(keys=keys, columns=columns)])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        pytest.param({"keys": np.array([5, -7, 9]).tobytes()}, "ascend", id="keys out of order"),
        pytest.param({"keys": np.array([5, 5, 9]).tobytes()}, "ascend", id="a key twice"),
        pytest.param({"keys": b"\0" * 16}, "not 3 rows", id="fewer keys than rows"),
        pytest.param({"rows": b"\0" * 44}, "not 3 rows", id="rows too narrow"),
        pytest.param({"rows": b"\0" * 52}, "not 3 rows", id="rows too wide"),
    ],
)
def test_a_file_that_is_not_what_the_manifest_says_is_refused(
    folder: Folder, table: Table, arrays: dict[str, bytes], says: str
) -> None:
    hostile = _rewritten(folder, table, **arrays)
    with pytest.raises(IntegrityError, match=says):
        read_table(folder.store, folder.pool, "l", hostile, groups=("serve",))


def test_groups_that_name_different_keys_are_refused(folder: Folder, table: Table) -> None:
    other = _rewritten(folder, table, keys=np.array([1, 2, 3]).tobytes())
    train = [shard for shard in table.shards if shard.group == "train"]
    with pytest.raises(IntegrityError, match="different keys"):
        read_table(folder.store, folder.pool, "l", table.changed(shards=[*other.shards, *train]))


def test_a_missing_column_is_refused(folder: Folder, table: Table) -> None:
    [serve] = [shard for shard in table.shards if shard.group == "serve"]
    with pytest.raises(IntegrityError, match="no shard holds"):
        read_table(folder.store, folder.pool, "l", table.changed(shards=[serve]))


def test_dense_weights_come_back(folder: Folder) -> None:
    obj = write_dense(folder, "serve", {"head.0.bias": np.arange(3, dtype=np.float32)})
    manifest = make_manifest(lineage="l", dense={"serve": obj})
    assert read_dense(folder.store, manifest, "serve")["head.0.bias"].tolist() == [0, 1, 2]
    with pytest.raises(IntegrityError, match="no train weights"):
        read_dense(folder.store, manifest, "train")


def test_a_file_that_is_no_safetensors_is_refused(folder: Folder) -> None:
    obj = folder.put("serve/dense.safetensors", b"not at all")
    with pytest.raises(IntegrityError, match="serve weights"):
        read_dense(folder.store, make_manifest(lineage="l", dense={"serve": obj}), "serve")
