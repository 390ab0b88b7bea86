"""Each architecture against its definition, in double precision and without any trick."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream_api.manifest import Architecture, ContextInputs, DefaultRow
from millstream_serving.engine.architectures import network_of, shapes_of
from millstream_serving.engine.layouts import MisshapenWeights, UnknownArchitecture
from millstream_serving.engine.requests import Lookup, Request
from millstream_serving.engine.rows import stored_rows
from millstream_serving.engine.towers import BLOCK
from millstream_serving.engine.versions import ScratchPad
from tests.builders.serving import Dense, make_architecture, random_dense

Rows = NDArray[np.float64]
CONTEXT = ContextInputs(rows=2, dim=4, floats=3)
FLAT = ("DotProduct", "MLP")
NAMES = ("DIN", *FLAT)


def make(name: str, **changes: Any) -> Architecture:
    attention = {} if name == "DIN" else {"attention": ()}
    return make_architecture(name=name, **attention | changes)


def logits_of(
    architecture, dense, rows, user, items, history, context=None, *,
    pad=None, graph=None, network=None,
):  # fmt: skip
    """Over rows [any, d] where the key of each row is its slot."""
    stored = stored_rows(np.asarray(rows, np.float32), "float32", DefaultRow())

    def lookup(slots: Any) -> Lookup:
        return Lookup(stored, np.array(slots, np.int64), np.array(slots, np.int32))

    inputs = np.zeros((1, architecture.context.width), np.float32)
    if context is not None:
        inputs[0] = context
    request = Request(lookup([user]), lookup(items), lookup(history), inputs)
    logits = np.full(len(items), np.nan, np.float32)
    network = network or network_of(architecture, dense, graph)
    network.score(request, pad or ScratchPad(), logits)
    return logits


def mlp(dense: Dense, part: str, x: Rows) -> Rows:
    for layer in range(3):
        weight, bias = (dense[f"{part}.{layer}.{each}"] for each in ("weight", "bias"))
        x = weight.astype(np.float64) @ x + bias
        x = np.maximum(x, 0) if layer < 2 else x
    return x


def by_definition(
    name: str, dense: Dense, user: Rows, item: Rows, history: Rows, context: Rows
) -> float:
    seen = history.mean(axis=0) if len(history) else np.zeros_like(item)
    if name == "MLP":
        return float(mlp(dense, "head", np.concatenate([user, item, seen, context]))[0])
    vector = user + seen + mlp(dense, "tower", np.concatenate([user, seen, context]))
    return float(vector @ item + dense["bias"][0])


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize(
    ("shape", "items", "history"),
    [
        pytest.param({}, 1, 5, id="one candidate with a full history"),
        pytest.param({}, BLOCK, 3, id="exactly one block of candidates"),
        pytest.param({}, BLOCK + 1, 1, id="one candidate beyond a block"),
        pytest.param({}, 7, 0, id="a user without a history"),
        pytest.param({"context": CONTEXT}, 9, 2, id="a context"),
        pytest.param({"embedding_dim": 5, "head": (33, 1)}, 9, 4, id="odd widths"),
        pytest.param(
            {"embedding_dim": 64, "head": (128, 64), "history_length": 50},
            100,
            50,
            id="the size of the benchmark",
        ),
    ],
)
def test_a_kernel_agrees_with_the_definition(name, shape, items, history):
    architecture = make(name, **shape)
    rng = np.random.default_rng(7)
    dense = random_dense(architecture, seed=3, scale=0.2)
    rows = (0.5 * rng.standard_normal((200, architecture.embedding_dim))).astype(np.float32)
    context = rng.standard_normal(architecture.context.width).astype(np.float32)
    item_slots, history_slots = rng.integers(0, 200, items), rng.integers(0, 200, history)

    got = logits_of(architecture, dense, rows, 11, item_slots, history_slots, context)

    exact = rows.astype(np.float64)
    wanted = [
        by_definition(name, dense, exact[11], exact[slot], exact[history_slots], context)
        for slot in item_slots
    ]
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FLAT)
def test_what_has_no_row_reads_as_zeros_and_counts_in_the_mean(name):
    architecture = make(name)
    dense = random_dense(architecture)
    rows = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)

    got = logits_of(architecture, dense, rows, -1, [-1, 2], [1, -1])

    exact, zero = rows.astype(np.float64), np.zeros(8)
    seen = np.array([exact[1], zero])
    wanted = [
        by_definition(name, dense, zero, item, seen, np.empty(0)) for item in (zero, exact[2])
    ]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("where", ["user", "item", "history", "weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_logit(name, where, value):
    """ReLU must not wash it away: the server relies on seeing it."""
    architecture = make(name)
    dense = {name: np.abs(array) for name, array in random_dense(architecture).items()}
    rows = np.ones((3, 8), np.float32)
    if where == "weights":
        dense[f"{'head' if name == 'MLP' else 'tower'}.1.weight"][0, 0] = value
    else:
        rows[{"user": 0, "item": 1, "history": 2}[where], 0] = value

    [logit] = logits_of(architecture, dense, rows, 0, [1], [2])

    assert not np.isfinite(logit)


def test_a_thread_may_go_from_one_architecture_to_another_and_back():
    """In a rollout between two lineages candidate and stable take turns."""
    pad = ScratchPad()
    rows = np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32)
    made = [make(name) for name in (*NAMES, *NAMES)]
    alone, shared = (
        [
            logits_of(each, random_dense(each), rows, 0, range(20), [1, 2], pad=scratch)
            for each in made
        ]
        for scratch in (None, pad)
    )
    np.testing.assert_array_equal(alone, shared)
    assert len({scores.tobytes() for scores in alone}) == len(NAMES)


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("shape", [{"head": (16,)}, {"head": (16, 8, 4)}, {"attention": (4, 4)}])
def test_layers_without_a_kernel_are_refused(name, shape):
    with pytest.raises(UnknownArchitecture, match=f"scores {name} with two hidden layers"):
        shapes_of(make(name, **shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["missing", "float64", "transposed"])
def test_every_weight_is_checked(name, fault):
    architecture = make(name)
    for weight in shapes_of(architecture):
        dense = random_dense(architecture)
        found = dense.pop(weight)
        if fault != "missing":
            dense[weight] = found.astype(np.float64) if fault == "float64" else found[None]
        with pytest.raises(MisshapenWeights, match=weight.replace(".", r"\.")):
            network_of(architecture, dense)
