"""Tables made by hand, to be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from millstream_api.manifest import Column, DefaultRow, Table
from millstream_core.census import Question, count_table
from millstream_core.tables.digest import EMPTY_STATE
from millstream_core.tables.training import Rows
from millstream_core.tables.usage import ONE, USAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from millstream_core.census import TableCensus, Waiting

NOW = 1_700_000_000.0
QUESTION = Question(dead_after_seconds=60.0, top=3)
COLUMNS = {
    "rows": Column(dtype="int8rows", width=2, group="serve"),
    "rows.exact": Column(dtype="float32", width=2, group="train"),
    "accumulator": Column(dtype="float32", width=1, group="train"),
    USAGE: Column(dtype="uint32", width=3, group="train"),
}
HISTORIES = {"items": Column(dtype="int64", width=5, group="serve")}


def make_described(columns: Mapping[str, Column] = COLUMNS, **changes: Any) -> Table:
    """A table's entry in a manifest."""
    fields: dict[str, Any] = {
        "columns": dict(columns),
        "default": DefaultRow(policy="SharedOov"),
        "seed": 7,
        "rows": 0,
        "touched": 2,
        "digest_before": EMPTY_STATE,
        "digest_after": EMPTY_STATE,
        "shards": (),
    }
    return Table(**(fields | changes))


def make_rows(*rows: tuple[int, float, float], norms: Sequence[float] | None = None) -> Rows:
    """Rows of (key, frequency, seconds since training), keys ascending, with norms 1, 2, …."""
    usage = [(round(times * ONE), 1, int(NOW - ago)) for _, times, ago in rows]
    embeddings = np.zeros((len(rows), 2), np.float32)
    embeddings[:, 1] = range(1, len(rows) + 1) if norms is None else norms
    return Rows(
        np.array([key for key, _, _ in rows], np.int64),
        {
            "rows": embeddings,
            "accumulator": np.ones((len(rows), 1), np.float32),
            USAGE: np.array(usage, np.uint32).reshape(len(rows), 3),
        },
    )


def make_census(
    *rows: tuple[int, float, float],
    norms: Sequence[float] | None = None,
    waiting: tuple[Waiting, ...] = (),
    now: float | None = NOW,
    question: Question = QUESTION,
) -> TableCensus:
    """The census of such rows."""
    return count_table(
        "item", make_described(), make_rows(*rows, norms=norms), waiting, now, question
    )
