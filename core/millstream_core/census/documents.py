"""The census of a table as values: what JSON, text and pictures are all made from.

Keys of rows are 64-bit and therefore strings in JSON, where numbers end at 2^53.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer
from pydantic.alias_generators import to_camel

from millstream_api.manifest import DefaultRow, Dtype, Group

Key = Annotated[int, PlainSerializer(str, return_type=str, when_used="json")]


class Told(BaseModel):
    """A frozen value that is written as JSON with camelCase names."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


@dataclass(frozen=True)
class Question:
    """What is asked about each table."""

    dead_after_seconds: float  # event time without training from which on a row is dead
    top: int  # keys in each list of keys


class Bin(Told):
    """How many rows have a value in the half-open interval [low, high)."""

    low: float
    high: float
    rows: int


class ColumnSize(Told):
    """What one column of all rows weighs in files."""

    name: str
    group: Group  # who reads it
    dtype: Dtype
    width: int  # values in one row
    bytes: int


class UsedKey(Told):
    """A key and how its row was used."""

    key: Key
    frequency: float  # occurrences, see Use
    age_seconds: float  # see Use


class Use(Told):
    """How often, and when last, rows were trained.

    A frequency counts occurrences in training. Where eviction halves frequencies by time, it is
    that of the row's last training. An age is the event time from the row's last training to the
    newest event that the version has learned, in seconds.
    """

    occurrences: float  # the sum of all frequencies
    frequencies: tuple[Bin, ...]  # occurrences
    ages: tuple[Bin, ...]  # seconds
    dead: int  # rows of an age of at least `dead_after_seconds`
    dead_after_seconds: float
    hot_keys: tuple[UsedKey, ...]  # of the highest frequencies, highest first
    dead_keys: tuple[UsedKey, ...]  # dead for longest first


class Norms(Told):
    """Euclidean norms of embeddings as training has them, before they are quantised to be served.

    Quantiles are of the finite norms, each the value of a row that exists (the lower one where
    the quantile lies between two).
    """

    not_finite: int  # rows with a value that is not
    quantiles: dict[str, float]  # by name, least to largest; none where no norm is finite
    norms: tuple[Bin, ...]  # of the finite ones


class Waiting(Told):
    """What a version remembers of keys that have no row yet.

    A counter knows each key that waits and how often it occurred. A sketch knows no keys: of its
    occupied counters follows about how many different keys it has counted and not forgotten,
    admitted ones included.
    """

    memory: str  # which way of admission keeps it
    bytes: int  # in files, at this version
    keys: int | None = None  # that wait; counters only
    occurrences: tuple[Bin, ...] = ()  # of them by now; counters only
    counters: int | None = None  # of the sketch
    occupied: int | None = None  # of these counters
    keys_counted: float | None = None  # by the sketch; None where too few counters are free


class TableCensus(Told):
    """What is in one table of a version."""

    table: str
    rows: int  # keys that were admitted and are still here
    touched: int  # rows written by this version
    default_row: DefaultRow  # what keys without a row read as
    bytes: dict[Group, int]  # of all rows in files, keys included
    columns: tuple[ColumnSize, ...]
    use: Use | None  # None: the table keeps no account of it
    norms: Norms | None  # None: its rows are no embeddings
    waiting: tuple[Waiting, ...]
