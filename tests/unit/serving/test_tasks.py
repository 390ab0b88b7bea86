"""Two neurons on one head: their outputs as one logit, by every kernel that may have them."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millstream_api.manifest import CLICK, CLICK_AND_CONVERSION, ContextInputs
from millstream_serving.engine.architectures import network_of, shapes_of
from millstream_serving.engine.layouts import MisshapenWeights, UnknownArchitecture
from millstream_serving.engine.reduced import UNIT
from millstream_serving.engine.scoring import BLOCK
from millstream_serving.engine.tasks import of_both
from tests.builders.scoring import logits_of, make_request, make_shape
from tests.builders.serving import random_dense

OF_SEVERAL = ("DIN", "MLP")
ROWS = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
in_bfloat16 = pytest.mark.skipif(not UNIT.is_available(), reason="this processor has no bfloat16")
finite = st.floats(-200, 200, width=32)


def with_neuron(dense, task):
    """The weights of a model of one task that has this neuron."""
    own = {
        f"head.2.{part}": dense[f"head.2.{part}"][task : task + 1] for part in ("weight", "bias")
    }
    return dense | own


def by_definition(click, conversion):
    """The logit of the product of both chances, with so many digits that nothing is lost."""
    with localcontext() as context:
        context.prec = 400
        chances = [1 / (1 + (-Decimal(float(each))).exp()) for each in (click, conversion)]
        both = chances[0] * chances[1]
        return float((both / (1 - both)).ln())


@pytest.mark.parametrize("name", OF_SEVERAL)
@pytest.mark.parametrize(
    ("shape", "items", "history"),
    [
        pytest.param({}, 1, 5, id="one candidate with a full history"),
        pytest.param({}, BLOCK, 3, id="exactly one block of candidates"),
        pytest.param({}, BLOCK + 1, 1, id="one candidate beyond a block"),
        pytest.param({}, 7, 0, id="a user without a history"),
        pytest.param({"context": ContextInputs(rows=2, dim=4, floats=3)}, 9, 2, id="a context"),
        pytest.param({"head": (33, 1)}, 9, 4, id="odd widths"),
        pytest.param({"head": (128, 64)}, 100, 5, id="the head of the benchmark"),
    ],
)
def test_two_neurons_score_as_two_models_would_whose_chances_are_multiplied(
    name, shape, items, history
):
    """Each model of one task is held against its definition elsewhere."""
    one = make_shape(name, **shape)
    two = one.changed(tasks=CLICK_AND_CONVERSION)
    dense = random_dense(two, seed=3, scale=0.3)
    rng = np.random.default_rng(7)
    context = rng.standard_normal(one.context.width).astype(np.float32)
    seen = rng.integers(0, 200, items), rng.integers(0, 200, history)
    request = make_request(ROWS, 11, *seen, context)

    found = logits_of(network_of(two, dense), request)

    alone = [logits_of(network_of(one, with_neuron(dense, task)), request) for task in range(2)]
    wanted = [by_definition(*pair) for pair in zip(*alone, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.05


@in_bfloat16
def test_in_reduced_precision_too():
    one = make_shape("DIN")
    two = one.changed(tasks=CLICK_AND_CONVERSION)
    dense = random_dense(two, seed=3)
    request = make_request(ROWS, 11, range(50), [1, 2, 3])

    found = logits_of(network_of(two, dense).reduced(), request)

    alone = [
        logits_of(network_of(one, with_neuron(dense, task)).reduced(), request) for task in range(2)
    ]
    wanted = [by_definition(*pair) for pair in zip(*alone, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=1e-6)


@settings(deadline=None)
@given(finite, finite)
@example(0.0, 7.0)
def test_the_logit_of_both_is_that_of_the_product(click, conversion):
    found = float(of_both(np.float32(click), np.float32(conversion)))
    # Near nought, what is left over of numbers near 1 has their rounding.
    assert found == pytest.approx(by_definition(click, conversion), rel=1e-6, abs=5e-7)


@pytest.mark.parametrize(
    ("click", "conversion", "expected"),
    [
        pytest.param(3e38, 3e38, 3e38, id="both certain"),
        pytest.param(3e38, 1.0, 1.0, id="a certain click"),
        pytest.param(1.0, 3e38, 1.0, id="a certain conversion"),
        pytest.param(-3e38, 1.0, -3e38, id="an impossible click"),
        pytest.param(-2e38, -1e38, -3e38, id="both impossible"),
    ],
)
def test_no_logit_is_too_large(click, conversion, expected):
    assert of_both(np.float32(click), np.float32(conversion)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("other", [0.0, 3e38, np.inf])
def test_of_what_is_not_finite_nothing_finite_is_made(value, other):
    assert not np.isfinite(of_both(np.float32(value), np.float32(other)))
    assert not np.isfinite(of_both(np.float32(other), np.float32(value)))


@pytest.mark.parametrize("name", OF_SEVERAL)
@pytest.mark.parametrize("task", [0, 1], ids=CLICK_AND_CONVERSION)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_of_one_task_shows_in_the_logit(name, task, value):
    """Also where the product of both chances is finite: the server relies on seeing it."""
    architecture = make_shape(name, tasks=CLICK_AND_CONVERSION)
    dense = random_dense(architecture)
    dense["head.2.bias"][task] = value
    request = make_request(ROWS, 0, [1], [2])
    assert not np.isfinite(logits_of(network_of(architecture, dense), request)).any()


@pytest.mark.parametrize("name", OF_SEVERAL)
@pytest.mark.parametrize(
    ("asked", "brought"), [(CLICK, CLICK_AND_CONVERSION), (CLICK_AND_CONVERSION, CLICK)]
)
def test_weights_of_other_tasks_are_refused(name, asked, brought):
    dense = random_dense(make_shape(name, tasks=brought))
    with pytest.raises(MisshapenWeights, match=r"head\.2\.weight must be float32"):
        network_of(make_shape(name, tasks=asked), dense)


@pytest.mark.parametrize("name", ["DotProduct", "Custom"])
def test_architectures_of_one_task_are_refused_with_two(name):
    fields = {"head": (), "graph": "ab" * 32} if name == "Custom" else {}
    with pytest.raises(UnknownArchitecture, match=f"{name} with one task, not Click and Conv"):
        shapes_of(make_shape(name, tasks=CLICK_AND_CONVERSION, **fields))
