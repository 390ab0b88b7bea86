"""Tables of a version: raw little-endian arrays, whose shape and digest the manifest gives.

    data/<version>-<attempt>/<group>/<table>/<first>-<last bucket>.keys      int64[n], ascending
    data/<version>-<attempt>/<group>/<table>/<first>-<last bucket>.<column>  dtype[n, width]
    data/<version>-<attempt>/<group>/<table>/<first>-<last bucket>.evicted   int64[m], ascending

A file has no header that could lie: it is what the manifest says or it is refused. Columns that
travel to servers and columns that only training needs lie in groups of their own, so a server
fetches none of the latter. What servers read in fewer bits than training keeps lies in both
groups: `rows` as served, and `rows.exact` as live.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_api.manifest import Column, DefaultRow, Group, MultiHash, ObjectRef, Shard, Table
from millstream_core.checkpoint.shards import GONE, KEYS, divided
from millstream_core.tables.hashing import BUCKETS
from millstream_core.tables.snapshots import ColumnSpec, Rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_core.checkpoint.shards import Buckets, Part
    from millstream_core.store import ModelStore
    from millstream_core.tables.snapshots import SealedTable

_EXACT: Final = ".exact"


@dataclass(frozen=True)
class TableRows:
    """What a version says of one table, verified."""

    keys: NDArray[np.int64]  # [n], each once; ascending within a shard
    columns: dict[str, NDArray[Any]]  # name -> [n, width]
    gone: NDArray[np.int64]  # [m], keys evicted or erased

    def without_tombstones(self) -> TableRows:
        """The rows alone: where there is nothing below, there is nothing to end."""
        return replace(self, gone=np.empty(0, np.int64))


@dataclass(frozen=True)
class Folder:
    """Where the objects of one attempt at one version go."""

    store: ModelStore
    pool: Executor  # uploads in parallel
    lineage: str
    path: str  # data/<version>-<attempt>

    def put(self, name: str, data: bytes) -> ObjectRef:
        """Write one object; returns when it is durable."""
        return self.store.put_data(self.lineage, f"{self.path}/{name}", data)


def write_table(
    folder: Folder,
    name: str,
    sealed: SealedTable,
    default: DefaultRow | None = None,
    multi_hash: MultiHash | None = None,
) -> Table:
    """Write one table's snapshot and describe it; returns when all of it is durable.

    Args:
        folder: where to.
        name: of the table.
        sealed: what to write.
        default: what keys without a row read as; None: zeros.
        multi_hash: how keys become those of rows; None: they are.
    """
    snapshot = sealed.snapshot
    columns = stored_columns(snapshot.specs)
    arrays = sealed.served | {
        exact_name(column, spec): snapshot.rows.columns[column]
        for column, spec in snapshot.specs.items()
        if spec.serve != spec.dtype
    }
    return Table(
        columns=columns,
        default=default or DefaultRow(),
        multi_hash=multi_hash,
        seed=snapshot.seed,
        rows=snapshot.total,
        touched=snapshot.touched,
        digest_before=snapshot.digest_before,
        digest_after=sealed.digest_after,
        shards=write_rows(
            folder, name, columns, TableRows(snapshot.rows.keys, arrays, snapshot.rows.gone)
        ),
    )


def write_rows(
    folder: Folder,
    name: str,
    columns: Mapping[str, Column],
    rows: TableRows,
    buckets: Buckets = (0, BUCKETS),
) -> tuple[Shard, ...]:
    """Write rows as they are stored, and every tombstone as evicted; all durable on return.

    Args:
        folder: where to.
        name: of the table.
        columns: of its files.
        rows: what to write.
        buckets: those that the keys are of.
    """
    row_bytes = sum(rows.columns[column][:1].nbytes for column in columns)
    parts = divided(rows.keys, rows.gone, row_bytes, buckets)
    shards = [
        (group, part)
        for group in sorted({column.group for column in columns.values()})
        for part in parts
    ]

    def write(file: tuple[Group, Part, str]) -> ObjectRef:
        group, part, suffix = file
        first, end = part.buckets
        data = _little_endian(part.array(suffix, rows.columns))
        return folder.put(f"{group}/{name}/{first}-{end - 1}.{suffix}", data)

    files = [(*shard, suffix) for shard in shards for suffix in _suffixes(*shard, columns)]
    written = folder.pool.map(write, files)
    return tuple(
        _described(*shard, {suffix: next(written) for suffix in _suffixes(*shard, columns)})
        for shard in shards
    )


def _little_endian(array: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def _suffixes(group: Group, part: Part, columns: Mapping[str, Column]) -> list[str]:
    """The files of a shard."""
    mine = [name for name, column in columns.items() if column.group == group]
    return [KEYS, *mine, *([GONE] if len(part.gone) else [])]


def _described(group: Group, part: Part, objects: dict[str, ObjectRef]) -> Shard:
    return Shard(
        group=group,
        buckets=part.buckets,
        rows=len(part.keys),
        keys=objects.pop(KEYS),
        evicted=objects.pop(GONE, None),
        columns=objects,
    )


def stored_columns(specs: Mapping[str, ColumnSpec]) -> dict[str, Column]:
    """The columns of a table's files by name."""
    columns = {}
    for name, spec in specs.items():
        if spec.serve is not None:
            columns[name] = Column(dtype=spec.serve, width=spec.width, group="serve")
        if spec.serve != spec.dtype:
            exact = exact_name(name, spec)
            columns[exact] = Column(dtype=spec.dtype, width=spec.width, group="train")
    return columns


def exact_name(name: str, spec: ColumnSpec) -> str:
    """Under which name files hold a column as it is live."""
    return name if spec.serve in {None, spec.dtype} else f"{name}{_EXACT}"


def specs_of(columns: Mapping[str, Column]) -> dict[str, ColumnSpec]:
    """The live columns that these stored ones come from; new rows begin as zeros."""
    specs = {}
    for name, column in columns.items():
        exact = columns.get(f"{name}{_EXACT}", column).dtype
        serve = column.dtype if column.group == "serve" else None
        if not name.endswith(_EXACT):
            specs[name] = ColumnSpec(dtype=exact, width=column.width, serve=serve)
    return specs


def live_rows(specs: Mapping[str, ColumnSpec], rows: TableRows) -> Rows:
    """What a version holds of a table, for `TrainingTable.restore`."""
    columns = {name: rows.columns[exact_name(name, spec)] for name, spec in specs.items()}
    return Rows(rows.keys, columns, rows.gone)
