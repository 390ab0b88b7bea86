"""The kernel against the definition of the network, in double precision and without any trick."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream_serving.engine.layouts import MisshapenWeights, UnknownArchitecture
from millstream_serving.engine.networks import prepare, shapes_of
from millstream_serving.engine.scoring import BLOCK, scratch_for
from millstream_serving.engine.tiles import COLUMNS, ROWS, accumulate, rectify
from tests.builders.serving import Dense, make_architecture, random_dense, scored

Rows = NDArray[np.float64]


def relu(x: Rows) -> Rows:
    return np.maximum(x, 0)


def layer(dense: Dense, name: str, x: Rows) -> Rows:
    weight, bias = (dense[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
    return x @ weight.T + bias


def reference_logit(dense: Dense, user: Rows, item: Rows, history: Rows) -> float:
    """DIN as the paper and the model contract write it."""
    interest = np.zeros_like(item)
    if len(history):
        query = np.tile(item, (len(history), 1))
        pairs = np.concatenate([query, history, query - history, query * history], axis=1)
        hidden = relu(layer(dense, "attention.1", relu(layer(dense, "attention.0", pairs))))
        weights = layer(dense, "attention.2", hidden)[:, 0]
        shares = np.exp(weights - weights.max())
        interest = (shares / shares.sum()) @ history
    x = np.concatenate([user, item, interest])
    return float(
        layer(dense, "head.2", relu(layer(dense, "head.1", relu(layer(dense, "head.0", x)))))[0]
    )


def logits_of(dense, architecture, rows, user, items, history):
    return scored(prepare(architecture, dense), architecture, rows, user, items, history)


@pytest.mark.parametrize(
    ("shape", "items", "history"),
    [
        pytest.param({}, 1, 5, id="one candidate with a full history"),
        pytest.param({}, BLOCK, 3, id="exactly one block of candidates"),
        pytest.param({}, BLOCK + 1, 1, id="one candidate beyond a block"),
        pytest.param({}, 7, 0, id="a user without a history"),
        pytest.param(
            {"embedding_dim": 5, "attention": (17, 3), "head": (33, 1)}, 9, 4, id="odd widths"
        ),
        pytest.param(
            {
                "embedding_dim": 64,
                "attention": (64, 32),
                "head": (128, 64),
                "history_length": 50,
            },
            100,
            50,
            id="the size of the benchmark",
        ),
    ],
)
def test_the_kernel_agrees_with_the_definition(shape, items, history):
    architecture = make_architecture(**shape)
    rng = np.random.default_rng(7)
    dense = random_dense(architecture, seed=3, scale=0.2)
    rows = rng.standard_normal((200, architecture.embedding_dim)).astype(np.float32)
    item_slots = rng.integers(0, 200, items)
    history_slots = rng.integers(0, 200, history)

    got = logits_of(dense, architecture, rows, 11, item_slots, history_slots)

    exact = rows.astype(np.float64)
    wanted = [
        reference_logit(dense, exact[11], exact[slot], exact[history_slots]) for slot in item_slots
    ]
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)


def test_what_has_no_row_reads_as_zeros_and_still_takes_its_share_of_attention():
    architecture = make_architecture()
    dense = random_dense(architecture)
    rows = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)

    got = logits_of(dense, architecture, rows, -1, [-1, 2], [1, -1])

    exact, zero = rows.astype(np.float64), np.zeros(8)
    seen = np.array([exact[1], zero])
    wanted = [reference_logit(dense, zero, item, seen) for item in (zero, exact[2])]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_scratch_of_an_earlier_request_does_not_show_in_the_next():
    architecture = make_architecture()
    weights = prepare(architecture, random_dense(architecture))
    scratch = scratch_for(weights, architecture.history_length)
    rows = np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32)

    def run(history: list[int]) -> NDArray[np.float32]:
        return scored(weights, architecture, rows, 0, range(20), history, scratch)

    fresh = run([])
    run([1, 2, 3, 4, 5])
    np.testing.assert_array_equal(run([]), fresh)


@pytest.mark.parametrize("where", ["user", "item", "history", "weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_logit(where, value):
    """ReLU must not wash it away: the server relies on seeing it."""
    architecture = make_architecture()
    dense = {name: np.abs(array) for name, array in random_dense(architecture).items()}
    rows = np.ones((3, 8), np.float32)
    if where == "weights":
        dense["attention.1.weight"][0, 0] = value
    else:
        rows[{"user": 0, "item": 1, "history": 2}[where], 0] = value

    [logit] = logits_of(dense, architecture, rows, 0, [1], [2])

    assert not np.isfinite(logit)


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


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param({"attention": (16,)}, id="one hidden layer of attention"),
        pytest.param({"head": (16, 8, 4)}, id="three hidden layers in the head"),
    ],
)
def test_a_network_without_a_kernel_is_refused(shape):
    with pytest.raises(UnknownArchitecture, match="two hidden layers"):
        shapes_of(make_architecture(**shape))


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        pytest.param("head.1.bias", None, "missing", id="a missing weight"),
        pytest.param("head.1.bias", np.zeros(9, np.float32), r"float32\[9\]", id="a wrong shape"),
        pytest.param("head.1.bias", np.zeros(8), "float64", id="a wrong type"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(name, array, said):
    architecture = make_architecture()
    dense = random_dense(architecture)
    del dense[name]
    if array is not None:
        dense[name] = array
    with pytest.raises(
        MisshapenWeights, match=rf"head\.1\.bias must be float32\[8\] and is {said}"
    ):
        prepare(architecture, dense)
