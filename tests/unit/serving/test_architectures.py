"""Each architecture against its definition, in double precision and without any trick."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_api.manifest import ContextInputs
from millstream_serving.engine import perceptrons, scoring, towers
from millstream_serving.engine.architectures import network_of, shapes_of
from millstream_serving.engine.layouts import MisshapenWeights, UnknownArchitecture
from millstream_serving.engine.versions import ScratchPad
from tests.builders.definitions import logit_by_definition
from tests.builders.scoring import logits_of, make_request, make_shape, sizes
from tests.builders.serving import make_architecture, random_dense

IN_CONTEXT = pytest.param({"context": ContextInputs(rows=2, dim=4, floats=3)}, 9, 2, id="a context")
BLOCKS = {"DIN": scoring.BLOCK, "DotProduct": towers.BLOCK, "MLP": perceptrons.BLOCK}
NAMES = tuple(BLOCKS)
SIZES = [
    pytest.param(name, *size.values, id=f"{name}: {size.id}")
    for name, block in BLOCKS.items()
    for size in sizes(block, IN_CONTEXT)
]


@pytest.mark.parametrize(("name", "shape", "items", "history"), SIZES)
def test_a_kernel_agrees_with_the_definition(name, shape, items, history):
    architecture = make_shape(name, **shape)
    rng = np.random.default_rng(7)
    dense = random_dense(architecture, seed=3, scale=0.2)
    rows = (0.5 * rng.standard_normal((200, architecture.embedding_dim))).astype(np.float32)
    context = rng.standard_normal(architecture.context.width).astype(np.float32)
    asked, seen = rng.integers(0, 200, items), rng.integers(0, 200, history)

    network = network_of(architecture, dense)
    got = logits_of(network, make_request(rows, 11, asked, seen, context))

    exact = rows.astype(np.float64)
    wanted = [
        logit_by_definition(name, dense, exact[11], exact[slot], exact[seen], context)
        for slot in asked
    ]
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_row_reads_as_zeros_and_still_counts_in_a_history(name):
    architecture = make_shape(name)
    dense = random_dense(architecture)
    rows = np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)

    got = logits_of(network_of(architecture, dense), make_request(rows, -1, [-1, 2], [1, -1]))

    exact, zero = rows.astype(np.float64), np.zeros(8)
    seen = np.array([exact[1], zero])
    wanted = [logit_by_definition(name, dense, zero, item, seen) for item in (zero, exact[2])]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "part"), [("DIN", "attention"), ("DotProduct", "tower"), ("MLP", "head")]
)
@pytest.mark.parametrize("where", ["user", "item", "history", "weights"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows_in_the_logit(name, part, where, value):
    """ReLU must not wash it away: the server relies on seeing it."""
    architecture = make_shape(name)
    dense = {name: np.abs(array) for name, array in random_dense(architecture).items()}
    rows = np.ones((3, 8), np.float32)
    if where == "weights":
        dense[f"{part}.1.weight"][0, 0] = value
    else:
        rows[{"user": 0, "item": 1, "history": 2}[where], 0] = value

    [logit] = logits_of(network_of(architecture, dense), make_request(rows, 0, [1], [2]))

    assert not np.isfinite(logit)


def test_a_thread_may_go_from_one_architecture_to_another_and_back():
    """In a rollout between two lineages candidate and stable take turns."""
    pad = ScratchPad()
    rows = np.random.default_rng(1).standard_normal((20, 8)).astype(np.float32)
    request = make_request(rows, 0, range(20), [1, 2])
    made = [make_shape(name) for name in (*NAMES, *NAMES)]
    alone, shared = (
        [logits_of(network_of(each, random_dense(each)), request, scratch) for each in made]
        for scratch in (None, pad)
    )
    np.testing.assert_array_equal(alone, shared)
    assert len({scores.tobytes() for scores in alone}) == len(NAMES)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("DIN", {"attention": (16,)}),
        ("DIN", {"head": (16, 8, 4)}),
        *(
            (name, {"attention": ()} | shape)
            for name in ("DotProduct", "MLP")
            for shape in ({"head": (16,)}, {"head": (16, 8, 4)}, {"attention": (4, 4)})
        ),
    ],
)
def test_layers_without_a_kernel_are_refused(name, shape):
    with pytest.raises(UnknownArchitecture, match=f"scores {name} with two hidden layers"):
        shapes_of(make_architecture(name=name, **shape))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["missing", "float64", "transposed"])
def test_every_weight_is_checked(name, fault):
    architecture = make_shape(name)
    for weight in shapes_of(architecture):
        dense = random_dense(architecture)
        found = dense.pop(weight)
        if fault != "missing":
            dense[weight] = found.astype(np.float64) if fault == "float64" else found[None]
        with pytest.raises(MisshapenWeights, match=weight.replace(".", r"\.")):
            network_of(architecture, dense)


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
        network_of(architecture, dense)
