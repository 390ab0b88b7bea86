"""Merging is the same as applying in turn: R17, compact after apply equals apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.manifest import Column
from millstream_core.checkpoint import TableRows, merged
from millstream_core.tables.versioned import VersionedTable

if TYPE_CHECKING:
    from millstream_core.tables.versioned import TableVersion

COLUMNS = {
    "rows": Column(dtype="float32", width=2, group="serve"),
    "seen": Column(dtype="int64", width=1, group="serve"),
}
keys = st.integers(-4, 12) | st.sampled_from([-(2**63), 2**63 - 1])
versions = st.tuples(
    st.dictionaries(keys, st.integers(0, 5), max_size=8), st.sets(keys, max_size=5)
)


def rows_of(version: tuple[dict[int, int], set[int]]) -> TableRows:
    """A version may let a key go and take it back; then it is there."""
    written, gone = version
    found = np.array(sorted(written), np.int64)
    values = np.array([[written[key]] for key in sorted(written)], np.int64).reshape(-1, 1)
    floats = np.repeat(values, 2, axis=1).astype(np.float32)
    return TableRows(found, {"rows": floats, "seen": values}, np.array(sorted(gone), np.int64))


def applied(table: VersionedTable, below: TableVersion | None, rows: TableRows) -> TableVersion:
    gone = np.setdiff1d(rows.gone, rows.keys)
    return table.load(below, rows.keys, rows.columns, gone, whole=below is None)


@settings(deadline=None, max_examples=150)
@given(versions, st.lists(versions, min_size=1, max_size=8), st.data())
def test_a_merged_delta_leads_where_its_parts_lead(base, deltas, data) -> None:
    table = VersionedTable(COLUMNS, max_rows=1 << 12)
    first = applied(table, None, rows_of(base))
    last = first
    for delta in deltas:
        last = applied(table, last, rows_of(delta))
    parts = [rows_of(delta) for delta in deltas]
    cut = data.draw(st.integers(0, len(parts)))
    together = [merged(group) for group in (parts[:cut], parts[cut:]) if group]
    joined = applied(table, first, merged(together))
    assert (joined.digest, joined.rows) == (last.digest, last.rows)
    whole = merged([rows_of(base), *parts]).without_tombstones()
    compacted = applied(table, None, whole)
    assert (compacted.digest, compacted.rows) == (last.digest, last.rows)


@settings(deadline=None)
@given(st.lists(versions, min_size=1, max_size=6))
def test_a_key_is_either_there_or_gone_once_and_in_order(parts) -> None:
    found = merged([rows_of(part) for part in parts])
    assert np.all(found.keys[1:] > found.keys[:-1])
    assert np.all(found.gone[1:] > found.gone[:-1])
    assert not set(found.keys.tolist()) & set(found.gone.tolist())
