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
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from millstream_api.manifest import Column, DefaultRow, Group, MultiHash, ObjectRef, Shard, Table
from millstream_core.checkpoint.promises import BUCKETS, refuse_promises
from millstream_core.store import IntegrityError
from millstream_core.tables.encoding import stored_form
from millstream_core.tables.snapshots import ColumnSpec, Rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_core.store import ModelStore
    from millstream_core.tables.snapshots import SealedTable

_EXACT: Final = ".exact"


@dataclass(frozen=True)
class TableRows:
    """What a version says of one table, verified."""

    keys: NDArray[np.int64]  # [n], ascending
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
        shards=tuple(
            _write_shard(
                folder,
                group,
                name,
                snapshot.rows,
                {key: arrays[key] for key, column in columns.items() if column.group == group},
            )
            for group in sorted({column.group for column in columns.values()})
        ),
    )


def write_rows(
    folder: Folder, name: str, columns: Mapping[str, Column], rows: TableRows
) -> tuple[Shard, ...]:
    """Write rows as they are stored, and every tombstone as evicted; all durable on return."""
    found = Rows(rows.keys, rows.columns, rows.gone)
    return tuple(
        _write_shard(
            folder,
            group,
            name,
            found,
            {key: rows.columns[key] for key in columns if columns[key].group == group},
        )
        for group in sorted({column.group for column in columns.values()})
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


def _write_shard(
    folder: Folder,
    group: Group,
    name: str,
    rows: Rows,
    columns: Mapping[str, NDArray[Any]],
) -> Shard:
    arrays = {"keys": rows.keys, **columns}
    if len(rows.gone):
        arrays["evicted"] = rows.gone

    def write(suffix: str) -> ObjectRef:
        array = arrays[suffix]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        return folder.put(f"{group}/{name}/0-{BUCKETS - 1}.{suffix}", little.tobytes())

    objects = dict(zip(arrays, folder.pool.map(write, arrays), strict=True))
    return Shard(
        group=group,
        buckets=(0, BUCKETS),
        rows=len(rows.keys),
        keys=objects.pop("keys"),
        evicted=objects.pop("evicted", None),
        columns=objects,
    )


def read_table(
    store: ModelStore,
    pool: Executor,
    lineage: str,
    table: Table,
    groups: Sequence[Group] = get_args(Group),
) -> TableRows:
    """Fetch one table of a version, in parallel, and verify it.

    Args:
        store: where.
        pool: fetches in parallel.
        lineage: of the version.
        table: its entry in the manifest.
        groups: whose columns to fetch.

    Raises:
        IntegrityError: an object is missing, altered, of another shape, or its keys do not ascend.
            What the manifest promises is checked before anything is fetched.
    """
    wanted = {name: column for name, column in table.columns.items() if column.group in groups}
    refuse_promises(table, wanted)
    parts = [_read_shard(store, pool, lineage, shard, wanted) for shard in table.shards]
    by_group = {
        group: _joined(
            [rows for shard, rows in zip(table.shards, parts, strict=True) if shard.group == group]
        )
        for group in groups
        if any(shard.group == group for shard in table.shards)
    }
    missing = wanted.keys() - {name for rows in by_group.values() for name in rows.columns}
    if missing:
        raise IntegrityError("Malformed", f"no shard holds the columns {sorted(missing)}")
    first = next(iter(by_group.values()))
    if any(not np.array_equal(rows.keys, first.keys) for rows in by_group.values()):
        raise IntegrityError("Malformed", "the groups of a table name different keys")
    if len(np.unique(first.gone)) < len(first.gone) or _are_among(first.gone, first.keys).any():
        raise IntegrityError("Malformed", "a key of a table leaves twice, or leaves and has a row")
    columns = {name: array for rows in by_group.values() for name, array in rows.columns.items()}
    gone = np.unique(np.concatenate([rows.gone for rows in by_group.values()]))
    return TableRows(first.keys, columns, gone)


def _read_shard(
    store: ModelStore,
    pool: Executor,
    lineage: str,
    shard: Shard,
    wanted: Mapping[str, Column],
) -> TableRows:
    columns = {name: column for name, column in wanted.items() if column.group == shard.group}
    if not columns:
        return TableRows(np.empty(0, np.int64), {}, np.empty(0, np.int64))
    objects = [shard.keys, *(shard.columns[name] for name in columns)]
    objects += [gone for gone in (shard.evicted, shard.erased) if gone is not None]
    fetched = list(pool.map(lambda obj: store.get_data(lineage, obj), objects))
    keys = np.frombuffer(fetched[0], "<i8")
    if not np.all(keys[1:] > keys[:-1]):
        raise IntegrityError("Malformed", f"the keys in {shard.keys.path} do not ascend")
    arrays = {}
    for (name, column), data in zip(columns.items(), fetched[1:], strict=False):
        dtype, width = stored_form(column.dtype, column.width)
        arrays[name] = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shard.rows, width)
    gone = [np.frombuffer(data, "<i8") for data in fetched[1 + len(columns) :]]
    return TableRows(keys, arrays, np.concatenate([*gone, np.empty(0, np.int64)]))


def _are_among(keys: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keys are among others, bool[n]; np.isin would hash the others even for none."""
    places = np.searchsorted(ascending, keys)
    is_within = places < len(ascending)
    is_within[is_within] = ascending[places[is_within]] == keys[is_within]
    return is_within


def _joined(parts: Sequence[TableRows]) -> TableRows:
    if len(parts) == 1:
        return parts[0]
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    if len(keys) > 1 and not np.all(keys[1:] > keys[:-1]):
        raise IntegrityError("Malformed", "two shards of a table hold the same key")
    columns = {
        name: np.concatenate([part.columns[name] for part in parts])[order]
        for name in parts[0].columns
    }
    return TableRows(keys, columns, np.concatenate([part.gone for part in parts]))
