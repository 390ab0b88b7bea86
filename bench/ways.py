"""What it costs a server to catch up with a model, k versions behind.

A chain of 256 deltas on one base lies in a real S3 server on loopback, compacted as the CronJob
does it; every distance is caught up step by step and by the shortest way, in turns.
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from demo.report import Row
from millstream_api.manifest import Architecture, Chain, Manifest, Validation
from millstream_core.checkpoint import (
    Folder,
    find_way,
    leg_tables,
    read_dense,
    read_table,
    write_dense,
    write_table,
)
from millstream_core.store import ModelStore, S3ObjectStore
from millstream_core.tables.snapshots import ColumnSpec, seal
from millstream_core.tables.training import TrainingTable
from millstream_core.tables.versioned import VersionedTable
from millstream_core.upkeep.compaction import Compactor, compact
from tests.builders.s3_server import s3_server

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_core.checkpoint import Leg
    from millstream_core.store import Stored
    from millstream_core.tables.versioned import TableVersion
    from tests.builders.s3_server import S3Server

RUNS: Final = 3
DELTAS: Final = 256
ROWS: Final = 100_000
TOUCHED: Final = 1_000  # rows in one delta: 1 %
DIM: Final = 64
BEHIND: Final = (1, 2, 4, 5, 16, 21, 64, 85, 255, 256)


class Counted(S3ObjectStore):
    """Counts what is read."""

    reads = 0
    bytes = 0

    def get(self, key: str, at_most: int | None = None) -> Stored:
        """See ObjectStore."""
        found = super().get(key, at_most)
        self.reads += 1
        self.bytes += len(found.data)
        return found


def way_rows() -> list[Row]:
    """All figures; those in bytes hold where no way is longer than step by step."""
    with (
        tempfile.TemporaryDirectory() as folder,
        s3_server(Path(folder)) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        refs = publish_chain(ModelStore(server.objects(), "", "bench"), pool)
        began = time.perf_counter()
        made = compact(
            Compactor(ModelStore(server.objects(), "", "bench"), pool, "bench", "bench"), refs[-1]
        )
        spent = time.perf_counter() - began
        size = sum(sum(each.bytes.values()) for each in made)
        rows = [
            Row(what=f"compacting {DELTAS} deltas: {len(made)} made", value=spent, unit="s"),
            Row(what="bytes written for that", value=size / 1e6, unit="MB"),
        ]
        for behind in (*BEHIND, None):
            rows += catching_up(server, pool, refs, behind)
    return rows


def publish_chain(store: ModelStore, pool: ThreadPoolExecutor) -> list[VersionRef]:
    """A base and its deltas, each of rows drawn by Zipf."""
    specs = {"rows": ColumnSpec(dtype="float32", width=DIM, serve="float32", uniform=0.05)}
    table = TrainingTable(specs, seed=0, max_rows=1 << 20)
    draw = np.random.default_rng(0)
    slots = table.admit(np.arange(ROWS, dtype=np.int64))
    transform = store.put_transform(b"{}")
    before: Manifest | None = None
    refs: list[VersionRef] = []
    for version in range(DELTAS + 1):
        sealed = seal(table.snapshot(whole=before is None))
        folder = Folder(store, pool, "f" * 12, f"data/{version}-bench")
        weights = draw.standard_normal(40_000, np.float32)
        manifest = Manifest(
            model="bench",
            lineage="f" * 12,
            version=version,
            kind="base" if before is None else "delta",
            parent=before and before.ref(),
            chain=Chain(base_version=0, length=version, bytes=0),
            writer="bench",
            writer_epoch=1,
            step=version,
            created_at=0.0,
            watermark=None,
            positions={},
            architecture=Architecture(
                name="DIN", embedding_dim=DIM, attention=(), head=(), history_length=1
            ),
            transform=transform,
            dense={"serve": write_dense(folder, "serve", {"weights": weights})},
            tables={"user": write_table(folder, "user", sealed)},
            validation=Validation(events=0),
            producer="bench",
        )
        refs.append(store.commit(manifest))
        table.committed(sealed)
        before = manifest
        touched = np.unique(np.minimum(draw.zipf(1.05, 3 * TOUCHED), ROWS) - 1)
        touched = slots[draw.permutation(touched)[:TOUCHED]]
        table.values("rows")[touched] += np.float32(0.01)
        table.touch(touched)
    return refs


def catching_up(
    server: S3Server, pool: ThreadPoolExecutor, refs: list[VersionRef], behind: int | None
) -> list[Row]:
    """From so many versions behind, or from nothing: bytes, objects and time, against steps."""
    sides: dict[bool, list[tuple[int, int, float]]] = {True: [], False: []}
    for _ in range(RUNS):
        for shortcuts, measured in sides.items():
            objects = opened(server)
            store = ModelStore(objects, "", "bench")
            storage = VersionedTable(store.manifest(refs[0]).tables["user"].columns, 1 << 20)
            below = None
            held: tuple[VersionRef, ...] = ()
            if behind is not None:
                start = refs[-1 - behind]
                _, legs = find_way(store, start, held=(), groups=("serve",))
                below = follow(store, pool, storage, None, legs)
                held = (start,)
            store = ModelStore(objects, "", "bench")  # remembers no manifest
            objects.reads = objects.bytes = 0
            began = time.perf_counter()
            _, legs = find_way(store, refs[-1], held=held, groups=("serve",), shortcuts=shortcuts)
            reached = follow(store, pool, storage, below, legs)
            spent = time.perf_counter() - began
            assert reached is not None
            assert reached.digest == store.manifest(refs[-1]).tables["user"].digest_after
            measured.append((objects.bytes, objects.reads, spent))
    ours, theirs = (
        tuple(median(each) for each in zip(*sides[side], strict=True)) for side in (True, False)
    )
    name = "a cold start" if behind is None else f"{behind} behind"
    units = (("bytes", "MB", 1e-6), ("objects", "objects", 1.0), ("time", "ms", 1e3))
    return [
        Row(
            what=f"{name}: {what}",
            value=ours[i] * scale,
            unit=unit,
            against=f"step by step: {theirs[i] * scale:,.1f} {unit}",
            ratio=theirs[i] / ours[i],
            bar="≤ step by step" if what == "bytes" else "",
            holds=ours[i] <= theirs[i] if what == "bytes" else None,
            runs=RUNS,
        )
        for i, (what, unit, scale) in enumerate(units)
    ]


def follow(
    store: ModelStore,
    pool: ThreadPoolExecutor,
    storage: VersionedTable,
    below: TableVersion | None,
    legs: list[Leg],
) -> TableVersion | None:
    """Fetch and apply every leg, as a server does."""
    for leg in reversed(legs):
        storage.collect()
        read_dense(store, leg.manifest, "serve")
        table = leg_tables(store, leg)["user"]
        rows = read_table(store, pool, leg.target.lineage, table, groups=("serve",))
        whole = leg.since is None
        below = storage.load(below, rows.keys, rows.columns, rows.gone, whole=whole)
    return below


def opened(server: S3Server) -> Counted:
    """A client that counts from nought."""
    return Counted(server.settings, access_key=server.access_key, secret_key=server.secret_key)
