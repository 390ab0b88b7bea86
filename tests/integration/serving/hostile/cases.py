"""Versions that nobody should serve, each published with digests that are right.

A case gets a publisher whose base is in force, writes what it writes, and returns the reference
that a release would name. Beside it stands the reason that /release must give.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from safetensors.numpy import save

from millstream_api.manifest import FORMAT_VERSION, ObjectRef, VersionRef
from tests.builders.serving import Publisher, make_ref, random_dense, random_rows

Case = Callable[[Publisher], VersionRef]

DEEP = 100_000
NUMBERS = [str(number) for number in range(1000)]


def rows(publisher: Publisher) -> dict[str, Any]:
    return random_rows(publisher, 3, 3, seed=4)


def damaged(part: str, change: Callable[[bytes], bytes]) -> Case:
    """An object altered after its digest was taken."""

    def publish(publisher: Publisher) -> VersionRef:
        ref = publisher.publish(rows(publisher))
        publisher.objects.damage(f"data/1-1/serve/{part}", change)
        return ref

    return publish


def lying(change: Callable[[Publisher, dict[str, Any]], Any]) -> Case:
    """A manifest, as JSON, that its writer changed before taking its digest."""

    def publish(publisher: Publisher) -> VersionRef:
        publisher.publish(rows(publisher))
        document = publisher.latest.model_dump(mode="json")
        change(publisher, document)
        return committed(publisher, orjson.dumps(document))

    return publish


def raw(data: Callable[[bytes], bytes]) -> Case:
    """A manifest of these bytes."""

    def publish(publisher: Publisher) -> VersionRef:
        publisher.publish(rows(publisher))
        return committed(publisher, data(publisher.latest.canonical()))

    return publish


def committed(publisher: Publisher, data: bytes) -> VersionRef:
    digest = hashlib.sha256(data).hexdigest()
    ref = VersionRef(lineage=publisher.lineage, version=1, digest=digest)
    publisher.objects.put(f"models/{publisher.model}/{ref.lineage}/manifest/1-{digest}.json", data)
    return ref


def shard(document: dict[str, Any], table: str = "user") -> dict[str, Any]:
    [found] = document["tables"][table]["shards"]
    return found


def put(publisher: Publisher, data: bytes) -> dict[str, Any]:
    """An object of these bytes, as a manifest names it."""
    name = hashlib.sha256(data).hexdigest()[:8]
    obj: ObjectRef = publisher.store.put_data(publisher.lineage, f"data/1-1/{name}", data)
    return obj.model_dump(mode="json")


def keys(*values: int) -> bytes:
    return np.array(values, "<i8").tobytes()


def file(table: str, name: str, data: bytes) -> Case:
    """A table's file with other bytes, of a writer who got the digest right."""

    def change(publisher: Publisher, document: dict[str, Any]) -> None:
        held = shard(document, table)
        (held if name in held else held["columns"])[name] = put(publisher, data)

    return lying(change)


def gone(*values: int, erased: tuple[int, ...] = ()) -> Case:
    def change(publisher: Publisher, document: dict[str, Any]) -> None:
        shard(document)["evicted"] = put(publisher, keys(*values))
        if erased:
            shard(document)["erased"] = put(publisher, keys(*erased))

    return lying(change)


def field(path: str, value: Any) -> Case:
    """A field of the manifest, by its path, set to something else."""

    def change(_: Publisher, document: dict[str, Any]) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        place: Any = document
        for step in steps:
            place = place[step]
        place[last] = value

    return lying(change)


def dense(data: bytes) -> Case:
    return lying(lambda publisher, document: document["dense"].update(serve=put(publisher, data)))


def safetensors(header: Any, body: bytes = b"", claimed: int | None = None) -> Case:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if claimed is None else claimed
    return dense(size.to_bytes(8, "little") + text + body)


def tensor(dtype: str, shape: list[int], size: int) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}


def shards_twice(_: Publisher, document: dict[str, Any]) -> None:
    document["tables"]["user"]["shards"] *= 2


def shards_of(*buckets: list[int]) -> Case:
    def change(_: Publisher, document: dict[str, Any]) -> None:
        held = shard(document)
        document["tables"]["user"]["shards"] = [held | {"buckets": range_} for range_ in buckets]

    return lying(change)


def one_row_of(**changed: Any) -> Case:
    """A base whose user table claims so much."""

    def change(_: Publisher, document: dict[str, Any]) -> None:
        shard(document).update(changed)
        document["tables"]["user"]["rows"] = changed["rows"]

    return lying(change)


def poisoned(publisher: Publisher) -> VersionRef:
    changed = rows(publisher)
    changed["item"][1000] = np.full(8, np.nan, np.float32)
    return publisher.publish(changed)


def crowded(publisher: Publisher) -> VersionRef:
    weights = random_dense(publisher.architecture)
    many = {"candidates.popular": np.zeros(10**6, np.int64), "candidates.new": np.zeros(0, int)}
    return dense(save(weights | many))(publisher)


def nowhere(_: Publisher) -> VersionRef:
    return make_ref(7)


def cut(data: bytes) -> bytes:
    return data[:-1]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 16])


USER = "tables/user"
SHARD = f"{USER}/shards/0"

CASES: list[Any] = [
    pytest.param(case, reason, id=name)
    for name, reason, case in [
        ("keys cut", "Truncated", damaged("user/0-1023.keys", cut)),
        ("rows cut", "Truncated", damaged("item/0-1023.rows", cut)),
        ("weights cut", "Truncated", damaged("dense.safetensors", cut)),
        ("rows longer than promised", "Oversized", damaged("item/0-1023.rows", lambda d: 2 * d)),
        ("a bit of a key flipped", "DigestMismatch", damaged("user/0-1023.keys", flipped)),
        ("a bit of a row flipped", "DigestMismatch", damaged("item/0-1023.rows", flipped)),
        ("a bit of a weight flipped", "DigestMismatch", damaged("dense.safetensors", flipped)),
        ("a digest of other bytes", "DigestMismatch", field(f"{SHARD}/keys/sha256", "0" * 64)),
        ("keys that do not ascend", "Malformed", file("user", "keys", keys(0, 2, 1))),
        ("a key twice", "Malformed", file("user", "keys", keys(0, 1, 1))),
        ("fewer keys than rows", "Malformed", file("user", "keys", keys(0, 1))),
        ("rows of another width", "Malformed", file("user", "rows", b"\0" * 3 * 9 * 4)),
        ("rows of another type", "Malformed", file("user", "rows", b"\0" * 3 * 8 * 8)),
        ("a history too short", "Malformed", file("history", "items", b"\0" * 8)),
        ("a row that is not a number", "NonFiniteRows", poisoned),
        ("a shard twice", "Malformed", lying(shards_twice)),
        ("shards that overlap", "Malformed", shards_of([0, 600], [500, 1024])),
        ("a shard of buckets that are not there", "Malformed", shards_of([0, 1025])),
        ("a shard of no buckets", "Malformed", shards_of([5, 5])),
        ("the same keys in two shards", "Malformed", shards_of([0, 512], [512, 1024])),
        ("no shard at all", "Malformed", field(f"{USER}/shards", [])),
        ("a missing column", "Malformed", field(f"{SHARD}/columns", {})),
        ("2^60 rows", "Malformed", one_row_of(rows=2**60)),
        ("2^31 - 1 rows", "Malformed", one_row_of(rows=2**31 - 1)),
        ("more rows than the table has", "Malformed", field(f"{USER}/rows", 2)),
        ("fewer than no rows", "Malformed", field(f"{SHARD}/rows", -1)),
        ("fewer than no bytes", "Malformed", field(f"{SHARD}/keys/bytes", -24)),
        ("2^60 bytes", "Malformed", field(f"{SHARD}/keys/bytes", 2**60)),
        ("2^60 values in a row", "Malformed", field(f"{USER}/columns/rows/width", 2**60)),
        ("2^60 values in an embedding", "Malformed", field("architecture/embedding_dim", 2**60)),
        ("a history of 2^40 items", "Malformed", field("architecture/history_length", 2**40)),
        ("a layer of no neurons", "Malformed", field("architecture/attention", [0, 8])),
        ("a path that leads out", "Malformed", field(f"{SHARD}/keys/path", "data/../../x")),
        ("a path from the root", "Malformed", field(f"{SHARD}/keys/path", "/etc/passwd")),
        ("weights at a path that leads out", "Malformed", field("dense/serve/path", "..")),
        ("a parent whose lineage leads out", "Malformed", field("parent/lineage", "../other")),
        ("a key that leaves and has a row", "Malformed", gone(2)),
        ("a key that leaves twice", "Malformed", gone(9, 9)),
        ("a key evicted and erased", "Malformed", gone(9, erased=(9,))),
        (
            "a key that leaves and a half",
            "Malformed",
            lying(lambda p, d: shard(d).update(evicted=put(p, b"\0" * 12))),
        ),
        ("a key leaving that the writer kept", "StateDigestMismatch", gone(9)),
        ("another state than the writer's", "StateDigestMismatch", field(f"{USER}/rows", 21)),
        ("a type of rows that is not known", "Malformed", field(f"{USER}/columns/rows/dtype", "x")),
        ("a default that is not known", "Malformed", field(f"{USER}/default/policy", "Random")),
        (
            "a default of an unheard-of seed",
            "Malformed",
            field(f"{USER}/default", {"policy": "HashInit", "seed": -1, "spread": 0.1}),
        ),
        ("a table that is a list", "Malformed", field(USER, [])),
        ("a step that is text", "Malformed", field("step", "soon")),
        ("a thousand lies", "Malformed", field("positions", dict.fromkeys(NUMBERS, "x"))),
        ("tables that are null", "Malformed", field("tables", None)),
        ("a transform that is a path", "Malformed", field("transform", "../x")),
        ("a format that is text", "Malformed", field("min_reader_version", "1")),
        ("a format of the future", "FormatTooNew", field("min_reader_version", FORMAT_VERSION + 1)),
        ("a parent that is nowhere", "LineageBroken", field("parent/digest", "0" * 64)),
        ("a release that points nowhere", "LineageBroken", nowhere),
        ("no JSON", "Malformed", raw(lambda _: b"\x80\x81")),
        ("half a document", "Malformed", raw(lambda data: data[: len(data) // 2])),
        ("a list", "Malformed", raw(lambda _: b"[]")),
        ("lists in lists", "Malformed", raw(lambda _: b"[" * DEEP + b"]" * DEEP)),
        (
            "objects in objects in a field",
            "Malformed",
            raw(lambda data: data[:-1] + b',"x":' + b'{"a":' * DEEP + b"1" + b"}" * (DEEP + 1)),
        ),
        ("a document of 20 MB", "Oversized", raw(lambda data: data + b" " * (20 << 20))),
        ("weights that are no safetensors", "Malformed", dense(b"not at all")),
        ("a header of 2^63 bytes", "Malformed", safetensors(b"{}", claimed=2**63)),
        (
            "a tensor of 2^64 values",
            "Malformed",
            safetensors(tensor("F32", [2**62, 4], 8), b"8"),
        ),
        ("a tensor of 0 times 2^62 values", "Malformed", safetensors(tensor("F32", [0, 2**62], 0))),
        ("a tensor of fewer than no values", "Malformed", safetensors(tensor("F32", [-1], 0))),
        (
            "a tensor of a type numpy lacks",
            "Malformed",
            safetensors(tensor("BF16", [2], 4), b"1" * 4),
        ),
        ("a header nested deeply", "Malformed", safetensors(b'{"a":' * DEEP)),
        ("weights without their tensors", "Malformed", safetensors({})),
        ("a million candidates", "Malformed", crowded),
    ]
]
