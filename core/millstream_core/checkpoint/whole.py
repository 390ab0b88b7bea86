"""All rows of one table, or of one memory of admission, as of a version."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from millstream_core.checkpoint.files import read_table
from millstream_core.checkpoint.merging import merged
from millstream_core.checkpoint.routes import leg_tables
from millstream_core.store import IntegrityError
from millstream_core.tables.digest import EMPTY_STATE, NO_HASHES, combined, row_hashes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from millstream_api.manifest import Manifest, Table
    from millstream_core.checkpoint.files import TableRows
    from millstream_core.checkpoint.routes import Leg
    from millstream_core.store import ModelStore


def read_way(store: ModelStore, pool: Executor, legs: Sequence[Leg], name: str) -> TableRows:
    """Fetch one table of every leg and join them.

    Args:
        store: where.
        pool: fetches in parallel.
        legs: newest first, see `find_way`.
        name: of the table.

    Raises:
        IntegrityError: an object is not what it should be.
    """
    return merged(
        [
            read_table(store, pool, leg.target.lineage, leg_tables(store, leg)[name])
            for leg in reversed(legs)
        ]
    )


def read_whole(store: ModelStore, pool: Executor, legs: Sequence[Leg], name: str) -> TableRows:
    """All rows of a table, by a way from nothing; else as `read_way`.

    Raises:
        IntegrityError: also where the rows do not add up to what the version's writer had.
    """
    rows = read_way(store, pool, legs, name).without_tombstones()
    _refuse_other_state(legs[0].manifest.tables[name], name, rows)
    return rows


def read_memory(
    store: ModelStore, pool: Executor, links: Sequence[Manifest], name: str
) -> TableRows:
    """All that a version remembers of keys without a row, in one way of admission.

    Args:
        store: where.
        pool: fetches in parallel.
        links: the version and its ancestors down to the base, newest first.
        name: of the memory.

    Raises:
        IntegrityError: an object is not what it should be.
    """
    return merged(
        [
            read_table(store, pool, link.lineage, link.admission[name])
            for link in reversed(remembering(links, name))
        ]
    ).without_tombstones()


def remembering(links: Sequence[Manifest], name: str) -> list[Manifest]:
    """The newest of these versions that hold this memory of admission, as they come: newest first.

    One without it was written while another way of admission was asked for; whatever is
    remembered in the next ones began anew.

    Args:
        links: a version and its ancestors down to the base.
        name: of the memory.
    """
    return list(takewhile(lambda link: name in link.admission, links))


def _refuse_other_state(table: Table, name: str, rows: TableRows) -> None:
    """Raise IntegrityError unless these are all rows that a version's writer had of a table."""
    served = {
        column: array
        for column, array in rows.columns.items()
        if table.columns[column].group == "serve"
    }
    digest = combined(EMPTY_STATE, row_hashes(rows.keys, served), NO_HASHES)
    if (digest, len(rows.keys)) != (table.digest_after, table.rows):
        raise IntegrityError(
            "LineageBroken",
            f"table {name} adds up to {len(rows.keys)} rows of digest {digest}, its writer had "
            f"{table.rows} of {table.digest_after}",
        )
