"""Versions of a small DIN, written to a model store as a trainer would write them."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from millstream_api.manifest import (
    Architecture,
    Chain,
    DefaultRow,
    Dtype,
    Manifest,
    ObjectRef,
    Validation,
    VersionRef,
    Watermark,
)
from millstream_core.checkpoint import Folder, write_dense, write_table
from millstream_core.features import PAD, Transform
from millstream_core.store import ModelStore
from millstream_core.tables.digest import EMPTY_STATE, combined, row_hashes
from millstream_core.tables.snapshots import (
    ColumnSpec,
    Rows,
    SealedTable,
    TableSnapshot,
    served_columns,
)
from millstream_serving.engine.architectures import shapes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millstream_api.features import FeatureSpec
    from millstream_core.store import ObjectStore

Dense = dict[str, NDArray[Any]]
Table = dict[int, NDArray[Any]]

_POOL = ThreadPoolExecutor(4, thread_name_prefix="publish")
_NO_HASHES = np.empty((0, 2), np.uint64)


def make_architecture(**changes: Any) -> Architecture:
    fields: dict[str, Any] = {
        "name": "DIN",
        "embedding_dim": 8,
        "attention": (16, 8),
        "head": (16, 8),
        "history_length": 5,
    }
    return Architecture(**(fields | changes))


def random_dense(architecture: Architecture, seed: int = 0, scale: float = 0.3) -> Dense:
    """Dense weights with some spread, and no candidates."""
    rng = np.random.default_rng(seed)
    return {
        name: (scale * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes_of(architecture).items()
    }


def overflowing_dense(architecture: Architecture) -> Dense:
    """Finite weights whose products are not: what a burst of an optimizer leaves behind."""
    dense = random_dense(architecture)
    dense["head.2.weight"][:] = 3e38
    dense["head.2.bias"][:] = 3e38
    dense["head.1.bias"][:] = 3e38
    return dense


def marked_dense(architecture: Architecture, mark: float) -> Dense:
    """Weights that answer `mark / 100` exactly when every row read carries the same mark.

    The first value of the user's row, of the candidate's and of the interest are each compared
    with the mark of the dense weights; any difference adds at least 1 to the logit.
    """
    width = architecture.embedding_dim
    dense = {name: np.zeros(shape, np.float32) for name, shape in shapes_of(architecture).items()}
    for part in range(3):  # user, item, interest
        for sign, neuron in ((1, 2 * part), (-1, 2 * part + 1)):
            dense["head.0.weight"][neuron, part * width] = sign
            dense["head.0.bias"][neuron] = -sign * mark
            dense["head.1.weight"][neuron, neuron] = 1
            dense["head.2.weight"][0, neuron] = 1
    dense["head.2.bias"][0] = mark / 100
    return dense


@dataclass
class Publisher:
    """One lineage of one model; keeps the state that its versions add up to."""

    objects: ObjectStore
    model: str = "shop"
    lineage: str = "a1b2c3"
    architecture: Architecture = field(default_factory=make_architecture)
    history_length: int | None = None  # in the transform; None: as the architecture has it
    served: Dtype = "float32"  # form of the rows of users and items
    default: DefaultRow = field(default_factory=DefaultRow)  # of the same
    graph: bytes | None = None  # of architecture Custom
    features: tuple[FeatureSpec, ...] = ()  # in the transform; see the architecture's context
    tables: dict[str, Table] = field(
        default_factory=lambda: {"user": {}, "item": {}, "history": {}}
    )
    digests: dict[str, str] = field(
        default_factory=lambda: dict.fromkeys(("user", "item", "history"), EMPTY_STATE)
    )
    latest: Manifest | None = None

    def __post_init__(self) -> None:
        if self.architecture.context.rows:
            self.tables.setdefault("context", {})
            self.digests.setdefault("context", EMPTY_STATE)

    @property
    def store(self) -> ModelStore:
        return ModelStore(self.objects, "models", self.model)

    def publish(
        self,
        rows: Mapping[str, Table] | None = None,
        *,
        gone: Mapping[str, list[int]] | None = None,
        dense: Dense | None = None,
        popular: list[int] | None = None,
        newest: list[int] | None = None,
        base: bool = False,
        version: int | None = None,
        change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    ) -> VersionRef:
        """Write the next version.

        Args:
            rows: table -> key -> row, added or changed.
            gone: table -> keys that leave.
            dense: weights; the seed of None is the version's number.
            popular: candidates.popular; None for the first 20 items.
            newest: candidates.new.
            base: write the full state; the first version always is one.
            version: its number; None for the next one.
            change: a last look at the manifest before it is committed, for lies.
        """
        if version is None:
            version = 0 if self.latest is None else self.latest.version + 1
        is_base = base or self.latest is None
        before = dict(self.digests)
        changed = {name: dict((rows or {}).get(name, {})) for name in self.tables}
        left = {name: list((gone or {}).get(name, [])) for name in self.tables}
        for name, table in self.tables.items():
            self.digests[name] = self._digest_after(name, changed[name], left[name])
            table.update(changed[name])
            for key in left[name]:
                table.pop(key)

        folder = Folder(self.store, _POOL, self.lineage, f"data/{version}-1")
        proposals = {
            "candidates.popular": np.array(
                list(self.tables["item"])[:20] if popular is None else popular, np.int64
            ),
            "candidates.new": np.array(newest or [], np.int64),
        }
        weights = random_dense(self.architecture, version) if dense is None else dense
        written = {
            name: self._write(
                folder, name, table if is_base else changed[name], before[name], left[name], is_base
            )
            for name, table in self.tables.items()
        }
        parent = None if self.latest is None else self.latest.ref()
        transform = Transform(
            history_length=self.history_length or self.architecture.history_length,
            features=self.features,
        )
        chain = (
            Chain(base_version=version, length=0, bytes=0)
            if is_base or self.latest is None
            else Chain(
                base_version=self.latest.chain.base_version,
                length=self.latest.chain.length + 1,
                bytes=0,
            )
        )
        manifest = Manifest(
            model=self.model,
            lineage=self.lineage,
            version=version,
            kind="base" if is_base else "delta",
            parent=parent,
            chain=chain,
            writer="publisher",
            writer_epoch=1,
            step=version,
            created_at=1e9 + version,
            watermark=Watermark(first=1e9 + version - 1, last=1e9 + version),
            positions={"0": version},
            architecture=self.architecture,
            transform=self.store.put_transform(transform.canonical()),
            dense={"serve": write_dense(folder, "serve", proposals | weights)},
            graph=self._graph(folder),
            tables=written,
            validation=Validation(events=version),
            producer="test",
        )
        self.latest = change(manifest)
        return self.store.commit(self.latest)

    def _graph(self, folder: Folder) -> ObjectRef | None:
        """Where the graph lies: written once."""
        if self.graph is None:
            return None
        known = None if self.latest is None else self.latest.graph
        if known is not None and known.sha256 == self.architecture.graph:
            return known
        return folder.put("serve/graph.onnx", self.graph)

    def forget(self, name: str, key: int) -> None:
        """Drop a row as a trainer does that has read of its erasure: without a tombstone."""
        lost = {key: self.tables[name].pop(key)}
        self.digests[name] = combined(self.digests[name], _NO_HASHES, self._hashes(name, lost))

    def fork(self) -> Publisher:
        """Another writer that goes on from here."""
        return replace(
            self,
            tables={name: dict(table) for name, table in self.tables.items()},
            digests=dict(self.digests),
        )

    def _digest_after(self, name: str, changed: Table, left: list[int]) -> str:
        table = self.tables[name]
        lost = {key: table[key] for key in (*changed, *left) if key in table}
        return combined(self.digests[name], self._hashes(name, changed), self._hashes(name, lost))

    def _hashes(self, name: str, rows: Table) -> NDArray[np.uint64]:
        if not rows:
            return _NO_HASHES
        column, spec = self._spec(name)
        arrays = self._arrays(name, rows)
        return row_hashes(arrays.keys, served_columns({column: spec}, arrays.columns))

    def _spec(self, name: str) -> tuple[str, ColumnSpec]:
        if name == "history":
            width = self.architecture.history_length
            return "items", ColumnSpec(dtype="int64", width=width, serve="int64")
        shape = self.architecture
        width = shape.context.dim if name == "context" else shape.embedding_dim
        return "rows", ColumnSpec(dtype="float32", width=width, serve=self.served)

    def _arrays(self, name: str, rows: Table) -> Rows:
        column, spec = self._spec(name)
        keys = np.array(sorted(rows), np.int64)
        values = np.empty((len(keys), spec.width), spec.dtype)
        for i, key in enumerate(keys.tolist()):
            values[i] = rows[key]
        return Rows(keys, {column: values})

    def _write(
        self, folder: Folder, name: str, rows: Table, before: str, left: list[int], is_base: bool
    ) -> Any:
        column, spec = self._spec(name)
        arrays = self._arrays(name, rows)
        snapshot = TableSnapshot(
            specs={column: spec},
            seed=0,
            period=1,
            rows=arrays,
            total=len(self.tables[name]),
            touched=len(rows),
            hashes_before=_NO_HASHES,
            hashes_gone=_NO_HASHES,
            digest_before=before,
        )
        served = served_columns(snapshot.specs, arrays.columns)
        sealed = SealedTable(snapshot, served, _NO_HASHES, self.digests[name])
        default = self.default if column == "rows" else DefaultRow()
        table = write_table(folder, name, sealed, default)
        if left and not is_base:
            data = np.array(left, "<i8").tobytes()
            evicted = folder.put(f"serve/{name}/evicted", data)
            shards = [
                shard.changed(evicted=evicted) if shard.group == "serve" else shard
                for shard in table.shards
            ]
            table = table.changed(shards=shards)
        return table


def history_row(architecture: Architecture, items: list[int]) -> NDArray[np.int64]:
    """The row of these clicks, oldest first."""
    row = np.full(architecture.history_length, PAD, np.int64)
    if items:
        row[-len(items) :] = items
    return row


def marked_rows(publisher: Publisher, users: int, items: int, mark: float) -> dict[str, Table]:
    """Rows of users 0 .. and items 1000 .., each with the mark in its first value."""
    width = publisher.architecture.embedding_dim
    row = np.zeros(width, np.float32)
    row[0] = mark
    return {
        "user": dict.fromkeys(range(users), row),
        "item": {1000 + item: row for item in range(items)},
        "history": {
            user: history_row(publisher.architecture, [1000 + user % items])
            for user in range(users)
        },
    }


def random_rows(publisher: Publisher, users: int, items: int, seed: int = 0) -> dict[str, Table]:
    """Rows of users 0 .. and items 1000 .., with a history of three items each."""
    rng = np.random.default_rng(seed)
    width = publisher.architecture.embedding_dim
    return {
        "user": dict(enumerate(rng.standard_normal((users, width)).astype(np.float32))),
        "item": {
            1000 + i: row
            for i, row in enumerate(rng.standard_normal((items, width)).astype(np.float32))
        },
        "history": {
            user: history_row(publisher.architecture, (1000 + rng.integers(0, items, 3)).tolist())
            for user in range(users)
        },
    }


def digest_of(text: str) -> str:
    """Some SHA-256, for references that need no bytes behind them."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_ref(version: int, lineage: str = "a1b2c3") -> VersionRef:
    return VersionRef(lineage=lineage, version=version, digest=digest_of(f"{lineage}/{version}"))


def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of a condition; fails with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        threading.Event().wait(0.005)
    raise AssertionError(f"waited {seconds} s in vain for {what}")
