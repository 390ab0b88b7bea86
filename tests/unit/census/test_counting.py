"""What a census says of tables whose rows are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream_core.census import Bin, Question, Use, count_table
from millstream_core.census.counting import count_norms
from millstream_core.features import PAD
from millstream_core.tables.training import Rows
from tests.builders.census import (
    HISTORIES,
    NOW,
    QUESTION,
    make_census,
    make_described,
    make_rows,
)

ROWS = ((-5, 3.0, 59.0), (2, 0.5, 60.0), (7, 3.0, 0.0), (8, 1.0, 500.0))

LIVE = st.floats(-(2.0**127), 2.0**127, width=32)


def use_of(*rows: tuple[int, float, float], now: float | None = NOW) -> Use:
    use = make_census(*rows, now=now).use
    assert use is not None
    return use


def test_frequencies_are_counted_in_occurrences() -> None:
    use = use_of(*ROWS)
    assert use.occurrences == 7.5
    assert use.frequencies == (
        Bin(low=0, high=1, rows=1),
        Bin(low=1, high=2, rows=1),
        Bin(low=2, high=4, rows=2),
    )


def test_ages_are_seconds_of_event_time() -> None:
    assert [(each.low, each.rows) for each in use_of(*ROWS).ages if each.rows] == [
        (0.0, 1),
        (32.0, 2),
        (256.0, 1),
    ]


def test_hot_keys_are_the_most_frequent_and_ties_go_by_key() -> None:
    named = [(each.key, each.frequency, each.age_seconds) for each in use_of(*ROWS).hot_keys]
    assert named == [(-5, 3.0, 59.0), (7, 3.0, 0.0), (8, 1.0, 500.0)]


def test_a_row_is_dead_from_the_very_second_on() -> None:
    use = use_of(*ROWS)
    assert (use.dead, use.dead_after_seconds) == (2, 60.0)
    assert [each.key for each in use.dead_keys] == [8, 2]


def test_no_more_keys_are_named_than_asked_for_but_all_are_counted() -> None:
    question = Question(dead_after_seconds=1.0, top=1)
    use = make_census(*ROWS, question=question).use
    assert use is not None
    assert (len(use.hot_keys), len(use.dead_keys), use.dead) == (1, 1, 3)


def test_a_fraction_of_the_newest_second_makes_no_row_older() -> None:
    assert use_of((1, 1.0, 0.0), now=NOW + 0.9).hot_keys[0].age_seconds == 0.0


def test_a_row_trained_after_the_watermark_is_new_and_not_of_an_age_below_zero() -> None:
    assert use_of((1, 1.0, -30.0)).hot_keys[0].age_seconds == 0.0


def test_without_a_watermark_ages_count_from_the_row_trained_last() -> None:
    assert [each.age_seconds for each in use_of(*ROWS, now=None).hot_keys] == [59.0, 0.0, 500.0]


def test_the_shared_row_is_a_row_but_nobodys() -> None:
    census = make_census((PAD, 1000.0, 0.0), (4, 1.0, 0.0), norms=[1e6, 2.0])
    assert census.rows == 2
    assert census.use is not None
    assert [each.key for each in census.use.hot_keys] == [4]
    assert census.norms is not None
    assert census.norms.quantiles["max"] == 2.0


def test_norms_are_those_of_the_live_values() -> None:
    norms = make_census(*ROWS, norms=[3.0, 1.0, 0.0, 2.0]).norms
    assert norms is not None
    assert norms.quantiles == {
        "min": 0.0, "p1": 0.0, "p10": 0.0, "p50": 1.0, "p90": 2.0, "p99": 2.0, "max": 3.0,
    }  # fmt: skip
    assert [(each.low, each.rows) for each in norms.norms if each.rows] == [
        (0.0, 1),
        (1.0, 1),
        (2.0, 2),
    ]


def test_rows_that_are_not_finite_are_counted_apart() -> None:
    norms = make_census(*ROWS, norms=[math.nan, 1.0, math.inf, 2.0]).norms
    assert norms is not None
    assert norms.not_finite == 2
    assert (norms.quantiles["min"], norms.quantiles["max"]) == (1.0, 2.0)


def test_where_no_row_is_finite_there_are_no_quantiles() -> None:
    norms = make_census((1, 1.0, 0.0), norms=[math.nan]).norms
    assert norms is not None
    assert (norms.not_finite, norms.quantiles, norms.norms) == (1, {}, ())


@given(
    st.lists(st.tuples(*[st.floats(-(2.0**127), 2.0**127, width=32)] * 3), min_size=1, max_size=20)
)
def test_no_finite_row_has_a_norm_that_is_too_large_or_vanishes(
    rows: list[tuple[float, ...]],
) -> None:
    found = count_norms(np.array(rows, np.float32))
    assert found.not_finite == 0
    expected = max(math.hypot(*row) for row in rows)
    assert found.quantiles["max"] == pytest.approx(expected, rel=1e-12, abs=0)


def test_bytes_are_those_of_files_with_keys_in_each_group() -> None:
    census = make_census(*ROWS)
    assert {column.name: column.bytes for column in census.columns} == {
        "rows": 4 * (2 + 4),  # int8, then step and smallest
        "rows.exact": 4 * 8,
        "accumulator": 4 * 4,
        "usage": 4 * 12,
    }
    assert census.bytes == {"serve": 4 * (8 + 6), "train": 4 * (8 + 8 + 4 + 12)}


def test_a_table_without_account_or_embeddings_says_so() -> None:
    rows = Rows(np.array([3]), {"items": np.zeros((1, 5), np.int64)})
    census = count_table("history", make_described(HISTORIES), rows, (), NOW, QUESTION)
    assert (census.use, census.norms, census.rows) == (None, None, 1)


def test_an_empty_table_has_nothing_to_name() -> None:
    census = count_table("item", make_described(), make_rows(), (), None, QUESTION)
    assert (census.rows, census.bytes) == (0, {"serve": 0, "train": 0})
    assert census.use is not None
    assert (census.use.frequencies, census.use.hot_keys, census.use.dead) == ((), (), 0)


def test_keys_are_strings_in_json_because_its_numbers_end_at_two_to_the_53() -> None:
    told = make_census((2**62 + 1, 1.0, 0.0)).model_dump(mode="json", by_alias=True)
    assert told["use"]["hotKeys"][0]["key"] == "4611686018427387905"
