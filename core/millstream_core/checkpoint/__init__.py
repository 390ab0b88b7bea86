"""The files of a version: tables and dense weights, as bytes in the store and arrays in memory."""

from millstream_core.checkpoint.dense import read_dense, write_dense
from millstream_core.checkpoint.files import Folder, TableRows, read_table, write_table

__all__ = ["Folder", "TableRows", "read_dense", "read_table", "write_dense", "write_table"]
