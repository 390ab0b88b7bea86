"""Tables of a version read back: fetched in parallel, verified, and only then looked at.

Who holds all rows at once anyway reads a table whole (`read_table`). Who takes rows in reads one
part after the other (`part_reads`), and never holds more than the parts under way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from millstream_api.manifest import Group
from millstream_core.checkpoint.files import TableRows
from millstream_core.checkpoint.promises import refuse_promises
from millstream_core.store import IntegrityError
from millstream_core.tables.encoding import stored_form
from millstream_core.tables.hashing import buckets_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from millstream_api.manifest import Column, ObjectRef, Shard, Table
    from millstream_core.checkpoint.shards import Buckets
    from millstream_core.store import ModelStore

_NO_KEYS = np.empty(0, np.int64)


@dataclass(frozen=True)
class PartRead:
    """A part of a table that is fetched, and verified, once it is read."""

    buckets: Buckets  # its keys are of no other part
    read: Callable[[], TableRows]


def part_reads(
    store: ModelStore,
    pool: Executor,
    lineage: str,
    table: Table,
    groups: Sequence[Group] = get_args(Group),
) -> list[PartRead]:
    """The parts of a table in the order of their buckets.

    Args:
        store: where.
        pool: fetches the files of a part in parallel.
        lineage: of the version.
        table: its entry in the manifest.
        groups: whose columns to fetch.

    Raises:
        IntegrityError: the manifest promises what cannot be. A part raises it where an object is
            missing, altered, of another shape, or its keys do not ascend or belong elsewhere.
    """
    wanted, parts = _parts(table, groups)

    def read(shards: Sequence[Shard]) -> TableRows:
        fetched = pool.map(partial(store.get_data, lineage), _objects(shards, wanted))
        return _verified(shards, wanted, fetched)

    return [PartRead(shards[0].buckets, partial(read, shards)) for shards in parts]


def read_table(
    store: ModelStore,
    pool: Executor,
    lineage: str,
    table: Table,
    groups: Sequence[Group] = get_args(Group),
) -> TableRows:
    """All parts of a table at once, else as `part_reads`.

    Raises:
        IntegrityError: as there.
        MemoryError: the rows do not fit.
    """
    wanted, parts = _parts(table, groups)
    objects = (_objects(shards, wanted) for shards in parts)
    fetched = pool.map(partial(store.get_data, lineage), chain.from_iterable(objects))
    if len(parts) == 1:
        return _verified(parts[0], wanted, fetched)
    count = sum(shards[0].rows for shards in parts)
    keys, gone, columns = np.empty(count, np.int64), [_NO_KEYS], {}
    for name, column in wanted.items():
        dtype, width = stored_form(column.dtype, column.width)
        columns[name] = np.empty((count, width), dtype)
    end = 0
    for shards in parts:
        rows = _verified(shards, wanted, fetched)
        mine, end = slice(end, end + len(rows.keys)), end + len(rows.keys)
        keys[mine] = rows.keys
        gone.append(rows.gone)
        for name, array in rows.columns.items():
            columns[name][mine] = array
    return TableRows(keys, columns, np.concatenate(gone))


def _parts(table: Table, groups: Sequence[Group]) -> tuple[dict[str, Column], list[list[Shard]]]:
    """The columns of these groups, and the shards of each range of buckets, one a group."""
    wanted = {name: column for name, column in table.columns.items() if column.group in groups}
    refuse_promises(table, wanted)
    found = {column.group for column in wanted.values()}
    parts: dict[Buckets, list[Shard]] = {}
    for shard in table.shards:
        if shard.group in found:
            parts.setdefault(shard.buckets, []).append(shard)
    if not parts or any(len(shards) < len(found) for shards in parts.values()):
        raise IntegrityError("Malformed", f"no shard holds some of the columns {sorted(wanted)}")
    return wanted, [parts[buckets] for buckets in sorted(parts)]


def _objects(shards: Sequence[Shard], wanted: Mapping[str, Column]) -> list[ObjectRef]:
    """The files of shards, of each: keys, then columns as they are wanted, then tombstones."""
    objects: list[ObjectRef] = []
    for shard in shards:
        of_group = (name for name, column in wanted.items() if column.group == shard.group)
        gone = (each for each in (shard.evicted, shard.erased) if each)
        objects += [shard.keys, *(shard.columns[name] for name in of_group), *gone]
    return objects


def _verified(
    shards: Sequence[Shard], wanted: Mapping[str, Column], fetched: Iterator[bytes]
) -> TableRows:
    """The rows of one part; takes its files from `fetched`."""
    read = [_parsed(shard, wanted, fetched) for shard in shards]
    first = read[0]
    columns: dict[str, NDArray[Any]] = {}
    for rows in read:
        if not np.array_equal(rows.keys, first.keys):
            raise IntegrityError("Malformed", "the groups of a table name different keys")
        columns |= rows.columns
    if len(np.unique(first.gone)) < len(first.gone) or _are_among(first.gone, first.keys).any():
        raise IntegrityError("Malformed", "a key of a table leaves twice, or leaves and has a row")
    return TableRows(first.keys, columns, np.unique(np.concatenate([rows.gone for rows in read])))


def _parsed(shard: Shard, wanted: Mapping[str, Column], fetched: Iterator[bytes]) -> TableRows:
    keys = np.frombuffer(next(fetched), "<i8")
    if not np.all(keys[1:] > keys[:-1]):
        raise IntegrityError("Malformed", f"the keys in {shard.keys.path} do not ascend")
    columns: dict[str, NDArray[Any]] = {}
    for name, column in wanted.items():
        if column.group == shard.group:
            dtype, width = stored_form(column.dtype, column.width)
            rows = np.frombuffer(next(fetched), dtype.newbyteorder("<"))
            columns[name] = rows.reshape(shard.rows, width)
    files = [gone for gone in (shard.evicted, shard.erased) if gone is not None]
    gone = np.concatenate([_NO_KEYS, *(np.frombuffer(next(fetched), "<i8") for _ in files)])
    _refuse_strays(shard, keys)
    _refuse_strays(shard, gone)
    return TableRows(keys, columns, gone)


def _refuse_strays(shard: Shard, keys: NDArray[np.int64]) -> None:
    """Raise where a key is of another shard's buckets: it could be in both."""
    first, end = shard.buckets
    buckets = buckets_of(keys)
    if ((buckets < first) | (buckets >= end)).any():
        raise IntegrityError(
            "Malformed", f"{shard.keys.path} names keys beyond the buckets {first} to {end}"
        )


def _are_among(keys: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which keys are among others, bool[n]; np.isin would hash the others even for none."""
    places = np.searchsorted(ascending, keys)
    is_within = places < len(ascending)
    is_within[is_within] = ascending[places[is_within]] == keys[is_within]
    return is_within
