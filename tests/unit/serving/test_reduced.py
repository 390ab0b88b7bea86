"""bfloat16: rounding, products on the processor's own unit, and the network scored with them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from millstream_serving.engine.amx import COLUMNS, DEPTH
from millstream_serving.engine.bfloats import narrow_products, narrow_rectified, packed, rounded
from millstream_serving.engine.din import Din
from millstream_serving.engine.exponential import exponential
from millstream_serving.engine.lines import LINE, zeros
from millstream_serving.engine.reduced import HIGH, UNIT
from millstream_serving.engine.scoring import BLOCK
from millstream_serving.engine.versions import ScratchPad
from tests.builders.scoring import logits_of, make_request, sizes
from tests.builders.serving import make_architecture, random_dense

in_bfloat16 = pytest.mark.skipif(
    not UNIT.is_available(), reason="this processor has no bfloat16, or its kernel does not lend it"
)


def widened(bits):
    """float32 of the bits of bfloat16."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def test_a_value_is_rounded_to_the_nearest_and_a_tie_to_the_even_one():
    step = 2.0**-7  # between bfloat16 from 1 to 2
    values = np.array([1, 1 + step / 4, 1 + step / 2, 1 + 1.5 * step, -1 - 0.51 * step], np.float32)
    np.testing.assert_array_equal(
        widened(rounded(values)), np.float32([1, 1, 1, 1 + 2 * step, -1 - step])
    )


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFFFFFFF, 0x7F800001, 0x7FFFFFFF])
def test_what_is_not_a_number_stays_so(bits):
    assert np.isnan(widened(rounded(np.array([bits], np.uint32).view(np.float32)))).all()


def test_infinity_stays_and_what_is_too_large_becomes_it():
    found = widened(rounded(np.array([np.inf, -np.inf, 3.4e38], np.float32)))
    np.testing.assert_array_equal(found, np.float32([np.inf, -np.inf, np.inf]))


def test_an_array_begins_at_a_cache_line():
    arrays = [zeros((3, 5), np.float32) for _ in range(8)]
    assert {array.ctypes.data % LINE for array in arrays} == {0}
    assert not any(array.any() for array in arrays)


@in_bfloat16
@pytest.mark.parametrize("narrow", [narrow_products, narrow_rectified], ids=["products", "relu"])
def test_rows_are_rounded_on_their_way_and_what_is_beyond_them_stays(narrow):
    rng = np.random.default_rng(4)
    x, by = (rng.standard_normal((5, 2 * COLUMNS)).astype(np.float32) for _ in range(2))
    x[1, 3], x[2, 4] = np.nan, np.inf
    out = np.full((6, 3 * COLUMNS), 7, np.uint16)

    if narrow is narrow_products:
        narrow_products(x, 1, 4, by, 2, out)
        exact = x[1:5] * by[2]
    else:
        narrow_rectified(x, 4, by, 2, out)
        exact = np.maximum(x[:4] + by[2], 0)

    np.testing.assert_array_equal(widened(out[:4, : 2 * COLUMNS]), widened(rounded(exact)))
    assert (out[4:] == 7).all()
    assert (out[:, 2 * COLUMNS :] == 7).all()


@in_bfloat16
@pytest.mark.parametrize("tiles", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 13, 64])
@pytest.mark.parametrize("depth", [DEPTH, 3 * DEPTH])
@pytest.mark.parametrize("width", [COLUMNS, 2 * COLUMNS, 3 * COLUMNS])
@pytest.mark.parametrize("same", [True, False], ids=["one row to start from", "rows to start from"])
def test_a_product_is_that_of_the_rounded_factors(tiles, count, depth, width, same):
    rows = UNIT.rows_of_tile(count)
    rng = np.random.default_rng(tiles * rows)
    high = tiles * rows
    x = rounded(rng.standard_normal((high, depth)).astype(np.float32))
    w = rng.standard_normal((depth, width)).astype(np.float32)
    start = rng.standard_normal((1 if same else high, width)).astype(np.float32)
    out = np.full((high + 1, width), 7, np.float32)

    UNIT.configure(np.empty(64, np.uint8), rows)
    UNIT.multiply(x, packed(w), start, 0 if same else 4 * width, out, tiles, rows)
    UNIT.release()

    wanted = start + widened(x).astype(np.float64) @ widened(rounded(w))
    np.testing.assert_allclose(out[:high], wanted, rtol=1e-4, atol=1e-4)
    assert (out[high:] == 7).all()


@in_bfloat16
@pytest.mark.parametrize(
    ("shape", "items", "history"),
    sizes(
        BLOCK,
        pytest.param({"history_length": HIGH + 1}, 3, HIGH + 1, id="one pair beyond the tiles"),
    ),
)
def test_scores_are_those_of_float32_but_for_rounding(shape, items, history):
    architecture = make_architecture(**shape)
    rng = np.random.default_rng(7)
    exact = Din.of(architecture, random_dense(architecture, seed=3, scale=0.2))
    rows = rng.standard_normal((200, architecture.embedding_dim)).astype(np.float32)
    request = make_request(rows, 11, rng.integers(0, 200, items), rng.integers(0, 200, history))

    wanted, got = (logits_of(network, request) for network in (exact, exact.reduced()))

    spread = float(np.abs(wanted).max())
    np.testing.assert_allclose(got, wanted, atol=0.02 * spread)
    if history > 1:
        assert (got != wanted).any()  # or nothing was rounded


@in_bfloat16
@pytest.mark.parametrize("where", ["user", "item", "history", "weights"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_logit(where, value):
    architecture = make_architecture()
    dense = {name: np.abs(array) for name, array in random_dense(architecture).items()}
    rows = np.ones((3, 8), np.float32)
    if where == "weights":
        dense["attention.1.weight"][0, 0] = value
    else:
        rows[{"user": 0, "item": 1, "history": 2}[where], 0] = value
    network = Din.of(architecture, dense).reduced()

    [logit] = logits_of(network, make_request(rows, 0, [1], [2]))

    assert not np.isfinite(logit)


@pytest.mark.parametrize(
    "is_reduced", [False, pytest.param(True, marks=in_bfloat16)], ids=["float32", "bfloat16"]
)
def test_scratch_of_an_earlier_request_does_not_show_in_the_next(is_reduced):
    architecture = make_architecture(history_length=40)
    exact = Din.of(architecture, random_dense(architecture))
    network = exact.reduced() if is_reduced else exact
    rows = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    pad = ScratchPad()

    ask = partial(make_request, rows, 0, range(BLOCK))
    fresh = [logits_of(network, ask(history)) for history in ([], [1, 2])]
    logits_of(network, ask(range(40)), pad)
    for history, wanted in zip(([], [1, 2]), fresh, strict=True):
        np.testing.assert_array_equal(logits_of(network, ask(history), pad), wanted)


def test_a_processor_without_such_a_unit_has_no_reduced_precision(monkeypatch):
    monkeypatch.setattr(UNIT, "is_available", lambda: False)
    architecture = make_architecture()
    assert Din.of(architecture, random_dense(architecture)).reduced() is None


def test_the_exponential_is_that_of_the_c_library_to_the_last_bits():
    x = -np.linspace(0, 87, 100_001, dtype=np.float32)
    found = np.array([exponential(each) for each in x])
    np.testing.assert_allclose(found, np.exp(x.astype(np.float64)), rtol=3e-7)


def test_the_exponential_of_what_is_no_small_number():
    assert np.isnan(exponential(np.float32(np.nan)))
    assert 0 <= exponential(np.float32(-np.inf)) < 1e-37
    assert exponential(np.float32(0)) == 1
