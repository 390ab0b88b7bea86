"""The files of a version: tables and dense weights, as bytes in the store and arrays in memory."""

from millstream_core.checkpoint.ahead import read_ahead
from millstream_core.checkpoint.dense import read_dense, write_dense
from millstream_core.checkpoint.files import (
    Folder,
    TableRows,
    live_rows,
    specs_of,
    stored_columns,
    write_rows,
    write_table,
)
from millstream_core.checkpoint.merging import merged
from millstream_core.checkpoint.reading import part_reads, read_table
from millstream_core.checkpoint.routes import Leg, find_way, leg_tables
from millstream_core.checkpoint.whole import read_memory, read_way, read_whole, remembering

__all__ = [
    "Folder",
    "Leg",
    "TableRows",
    "find_way",
    "leg_tables",
    "live_rows",
    "merged",
    "part_reads",
    "read_ahead",
    "read_dense",
    "read_memory",
    "read_table",
    "read_way",
    "read_whole",
    "remembering",
    "specs_of",
    "stored_columns",
    "write_dense",
    "write_rows",
    "write_table",
]
