"""The files of a version: tables and dense weights, as bytes in the store and arrays in memory."""

from millstream_core.checkpoint.ahead import read_ahead
from millstream_core.checkpoint.dense import read_dense, write_dense
from millstream_core.checkpoint.files import (
    Folder,
    TableRows,
    live_rows,
    read_table,
    specs_of,
    stored_columns,
    write_table,
)

__all__ = [
    "Folder",
    "TableRows",
    "live_rows",
    "read_ahead",
    "read_dense",
    "read_table",
    "specs_of",
    "stored_columns",
    "write_dense",
    "write_table",
]
