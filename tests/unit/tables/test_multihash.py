"""The rows whose sum a key is."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_api.manifest import MultiHash
from millstream_core.features import PAD
from millstream_core.tables.multihash import FIRST, row_keys

ALL = np.arange(200_000, dtype=np.int64)


def test_rows_are_the_same_on_every_machine() -> None:
    """Frozen: if this changes, servers read other rows than trainers wrote."""
    found = row_keys(np.array([0, 1, -1, 2**63 - 1]), MultiHash(tables=3, rows=1000, seed=7))
    assert (found - FIRST).tolist() == [
        [625, 1893, 2597],
        [367, 1812, 2332],
        [445, 1696, 2221],
        [44, 1085, 2125],
    ]


def test_each_small_table_has_keys_of_its_own() -> None:
    found = row_keys(ALL, MultiHash(tables=3, rows=1000, seed=0))
    for table in range(3):
        assert set((found - FIRST)[:, table].tolist()) == set(
            range(table * 1000, table * 1000 + 1000)
        )


def test_what_is_no_id_stays_so() -> None:
    by = MultiHash(tables=2, rows=1000, seed=0)
    assert row_keys(np.array([PAD, 5, PAD]), by)[[0, 2]].tolist() == [[PAD, PAD]] * 2


@pytest.mark.parametrize(("tables", "rows"), [(2, 60), (3, 15)])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stride", [1, 1024, 7919])
def test_two_keys_meet_in_all_tables_by_chance_alone(
    tables: int, rows: int, seed: int, stride: int
) -> None:
    """One pair in rows^tables: each hash is even, and none follows from another."""
    found = row_keys(ALL * stride, MultiHash(tables=tables, rows=rows, seed=seed))
    first, second = found[::2], found[1::2]
    pairs = len(first)
    for together, chance in (
        ((first == second).all(axis=1), rows**-tables),
        ((first == second)[:, 0], rows**-1),
        ((first == second)[:, :2].all(axis=1), rows**-2),
    ):
        expected = pairs * chance
        assert abs(together.sum() - expected) < 5 * expected**0.5
    counts = np.bincount(found[:, 1] - FIRST - rows, minlength=rows)
    assert abs(counts - len(ALL) / rows).max() < 5 * (len(ALL) / rows) ** 0.5


def test_another_seed_brings_other_pairs_together() -> None:
    ours, theirs = (row_keys(ALL, MultiHash(tables=2, rows=1000, seed=seed)) for seed in (0, 1))
    assert (ours == theirs).mean() < 0.002
