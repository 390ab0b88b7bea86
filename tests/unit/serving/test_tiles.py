"""The products that kernels are made of, for every number of rows in and beyond whole tiles."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_serving.engine.tiles import COLUMNS, ROWS, accumulate, rectify


@pytest.mark.parametrize("rows", range(ROWS * 2 + 2))
@pytest.mark.parametrize("depth", [0, 1, 3, 64])
@pytest.mark.parametrize("width", [COLUMNS, 3 * COLUMNS])
def test_a_product_is_added_to_the_rows_asked_for_and_to_no_other(rows, depth, width):
    rng = np.random.default_rng(rows)
    x = rng.standard_normal((12, depth)).astype(np.float32)
    w = rng.standard_normal((depth, width)).astype(np.float32)
    out = np.ones((12, width), np.float32)

    accumulate(x, rows, w, out)

    np.testing.assert_allclose(out[:rows], 1 + x[:rows] @ w, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(out[rows:], 1)


@pytest.mark.parametrize("rows", range(ROWS * 2 + 2))
@pytest.mark.parametrize("depth", [1, 3, 64])
@pytest.mark.parametrize("width", [COLUMNS, 2 * COLUMNS, 3 * COLUMNS])
@pytest.mark.parametrize("in_place", [False, True], ids=["beside its base", "over its base"])
def test_a_layer_is_the_rectified_product_and_lets_nan_through(rows, depth, width, in_place):
    rng = np.random.default_rng(rows)
    x, base = (rng.standard_normal((12, n)).astype(np.float32) for n in (depth, width))
    w, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((depth, width), width))
    base[0, 0] = np.nan
    expected = base.copy() if in_place else np.ones_like(base)
    expected[:rows] = np.maximum(base + bias + x @ w, 0)[:rows]
    out = base if in_place else np.ones_like(base)

    rectify(x, rows, w, base, bias, out)

    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
