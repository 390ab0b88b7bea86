"""What a manifest says of a table's files, checked before any of them is read.

A hostile or broken writer may claim anything. Each claim here is held against another one, so
that what is fetched is no more than the table can be, and a file of the right size is an array of
the right shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_core.store import IntegrityError
from millstream_core.tables.encoding import stored_form
from millstream_core.tables.hashing import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from millstream_api.manifest import Column, ObjectRef, Shard, Table

_KEY_BYTES: Final = 8


def refuse_promises(table: Table, wanted: Mapping[str, Column]) -> None:
    """Raise IntegrityError (Malformed) where a table's shards cannot be what they say.

    Args:
        table: its entry in the manifest.
        wanted: the columns that are to be read, by name.
    """
    for group in {column.group for column in wanted.values()}:
        shards = [shard for shard in table.shards if shard.group == group]
        _refuse_overlap(shards)
        rows = sum(shard.rows for shard in shards)
        if rows > table.rows:
            raise IntegrityError(
                "Malformed", f"the shards hold {rows} rows of a table that has {table.rows}"
            )
        columns = {name: column for name, column in wanted.items() if column.group == group}
        for shard in shards:
            _refuse_sizes(shard, columns)


def _refuse_overlap(shards: Sequence[Shard]) -> None:
    """Ranges of buckets are within bounds and disjoint: so there are at most BUCKETS of them."""
    end = 0
    for first, last in sorted(shard.buckets for shard in shards):
        if not end <= first < last <= BUCKETS:
            raise IntegrityError(
                "Malformed", f"the buckets {first} to {last} of a shard overlap or do not exist"
            )
        end = last


def _refuse_sizes(shard: Shard, columns: Mapping[str, Column]) -> None:
    if not columns.keys() <= shard.columns.keys():
        raise IntegrityError("Malformed", f"a shard lacks one of the columns {sorted(columns)}")
    _refuse_size(shard.keys, shard.rows, _KEY_BYTES)
    for name, column in columns.items():
        dtype, width = stored_form(column.dtype, column.width)
        _refuse_size(shard.columns[name], shard.rows, width * dtype.itemsize)
    for gone in (shard.evicted, shard.erased):
        if gone is not None and gone.bytes % _KEY_BYTES:
            raise IntegrityError("Malformed", f"{gone.path} has {gone.bytes} bytes: no whole keys")


def _refuse_size(obj: ObjectRef, rows: int, row_bytes: int) -> None:
    if obj.bytes != rows * row_bytes:
        raise IntegrityError(
            "Malformed",
            f"{obj.path} has {obj.bytes} bytes, which is not {rows} rows of {row_bytes}",
        )
