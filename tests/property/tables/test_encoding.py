"""Stored rows: as close to the live ones as their form allows, and the same bytes everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from millstream_core.tables.digest import row_hashes
from millstream_core.tables.encoding import decode, encode, finite_rows, stored_form

QUANTISED = ("float16", "int8rows")
LARGEST = 60_000  # a float16 ends at 65,504

settings.register_profile("encoding", deadline=None, max_examples=150)
settings.load_profile("encoding")


def matrices(largest: float) -> st.SearchStrategy[NDArray[np.float32]]:
    values = st.floats(-largest, largest, width=32) | st.floats(-0.125, 0.125, width=32)
    return arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=values)


def half_ulp(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.spacing(np.abs(values).astype(np.float16)).astype(np.float32) / 2


@given(matrices(LARGEST))
def test_a_float16_is_the_nearest_one(rows: NDArray[np.float32]) -> None:
    error = np.abs(decode(encode(rows, "float16"), "float16") - rows)
    assert np.all(error <= half_ulp(rows))


@given(matrices(LARGEST))
def test_no_value_is_further_than_half_a_step_from_its_level(rows: NDArray[np.float32]) -> None:
    stored = encode(rows, "int8rows")
    step, offset = stored[:, -4:].copy().view("<f2").astype(np.float64).T
    found = decode(stored, "int8rows").astype(np.float64)
    # Of sums in float32, and of spans that underflow there.
    rounding = 1e-4 * step + 3e-7 * np.abs(rows).max(axis=1) + 1e-42
    assert np.all(np.abs(found - rows) <= (step / 2 + rounding)[:, None])
    # The levels waste next to nothing: they span the row, and what rounding adds at its ends.
    span = rows.max(axis=1).astype(np.float64) - rows.min(axis=1)
    slack = 2 * half_ulp(rows.min(axis=1)) + 255 * 2.0**-24
    assert np.all(255 * step <= (span + slack) * (1 + 2.0**-9) + 255 * 2.0**-24)
    assert np.all(offset <= rows.min(axis=1))


@given(matrices(LARGEST), st.sampled_from(QUANTISED), st.randoms(use_true_random=False))
def test_the_bytes_of_a_row_depend_on_that_row_alone(rows, dtype, random) -> None:
    """R28: a base, a delta and another order of rows store the same bytes."""
    order = list(range(len(rows)))
    random.shuffle(order)
    together = encode(rows, dtype)
    np.testing.assert_array_equal(encode(rows[order], dtype), together[order])
    for row, stored in zip(rows, together, strict=True):
        np.testing.assert_array_equal(encode(row[None], dtype)[0], stored)


@given(matrices(LARGEST))
def test_a_float16_stays_what_it_is_when_encoded_again(rows: NDArray[np.float32]) -> None:
    once = encode(rows, "float16")
    assert encode(decode(once, "float16"), "float16").tobytes() == once.tobytes()


@pytest.mark.parametrize("dtype", QUANTISED)
@pytest.mark.parametrize(
    ("row", "error"),
    [
        pytest.param([0.0, 0.0, 0.0], 0, id="zeros"),
        pytest.param([-0.0, 0.0, -0.0], 0, id="zeros of either sign"),
        pytest.param([0.5, 0.5, 0.5], 0, id="a constant that a float16 holds"),
        pytest.param([0.1, 0.1, 0.1], 3.1e-5, id="a constant that none holds"),
        pytest.param([1e-45, -1e-45, 1e-40], 6e-8, id="denormals"),
        pytest.param([6e-8, 1.2e-7, 0.0], 6e-8, id="denormals of float16"),
        pytest.param([65_504.0, -65_504.0, 0.0], 257, id="the ends of float16"),
        pytest.param([1000.0, 1000.001, 1000.002], 0.5, id="a narrow row far out"),
    ],
)
def test_extreme_rows(dtype: str, row: list[float], error: float) -> None:
    rows = np.array([row], np.float32)
    stored = encode(rows, dtype)
    assert finite_rows(stored, dtype).tolist() == [True]
    assert np.abs(decode(stored, dtype) - rows).max() <= error


@pytest.mark.parametrize("dtype", ["float32", *QUANTISED])
@pytest.mark.parametrize(
    ("value", "fits"),
    [
        pytest.param(np.nan, {}, id="NaN"),
        pytest.param(np.inf, {}, id="infinity"),
        pytest.param(-np.inf, {}, id="minus infinity"),
        pytest.param(3e38, {"float32"}, id="a burst of an optimizer"),
        pytest.param(-7e4, {"float32"}, id="more than a float16 holds"),
        pytest.param(7e4, {"float32", "int8rows"}, id="more than one holds, but not its step"),
    ],
)
def test_what_has_no_stored_form_shows_in_its_row_and_no_other(dtype, value, fits) -> None:
    """R20: in each form, so that no reader takes it for a number."""
    rows = np.ones((3, 5), np.float32)
    rows[1, 3] = value
    stored = encode(rows, dtype)
    assert finite_rows(stored, dtype).tolist() == [True, dtype in fits, True]
    decoded = np.isfinite(decode(stored, dtype)).all(axis=1)
    assert decoded.tolist() == [True, dtype in fits, True]


@pytest.mark.parametrize(
    "tail",
    [(np.nan, 0), (0, np.nan), (np.inf, 0), (0, -np.inf), (-1, 0)],
    ids=["step NaN", "smallest NaN", "step infinite", "smallest infinite", "step below zero"],
)
def test_a_stored_row_that_nobody_encoded_is_told_from_a_number(tail) -> None:
    stored = encode(np.ones((1, 3), np.float32), "int8rows")
    stored[:, -4:] = np.array([tail], "<f2").view(np.uint8)
    assert finite_rows(stored, "int8rows").tolist() == [False]


@given(matrices(1), st.sampled_from(["float32", *QUANTISED]))
def test_every_byte_of_a_stored_row_counts_in_its_hash(rows, dtype) -> None:
    """R15: also where a row's bytes are no whole words."""
    keys = np.arange(len(rows), dtype=np.int64)
    stored = encode(rows, dtype)
    assert stored.shape[1] == stored_form(dtype, rows.shape[1])[1]
    before = row_hashes(keys, {"rows": stored})
    data = stored.copy().view(np.uint8)
    data[:, -1] ^= 1
    after = row_hashes(keys, {"rows": data.view(stored.dtype)})
    assert np.all(before != after)
