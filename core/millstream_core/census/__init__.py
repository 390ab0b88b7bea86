"""What is in a table, counted: by frequency, age and norm, admitted and waiting, dead and hot."""

from millstream_core.census.counting import count_table
from millstream_core.census.documents import (
    Bin,
    ColumnSize,
    Norms,
    Question,
    TableCensus,
    Told,
    Use,
    UsedKey,
    Waiting,
)
from millstream_core.census.waiting import count_waiting

__all__ = [
    "Bin",
    "ColumnSize",
    "Norms",
    "Question",
    "TableCensus",
    "Told",
    "Use",
    "UsedKey",
    "Waiting",
    "count_table",
    "count_waiting",
]
