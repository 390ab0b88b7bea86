"""Clicks and conversions on one head: what is served of both, and what both are learned from."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.manifest import CLICK_AND_CONVERSION
from millstream_trainer.design import Design
from millstream_trainer.learner import Diverged, Learner
from millstream_trainer.model import LiveModel
from millstream_trainer.models.architectures import network_of
from millstream_trainer.models.tasks import loss, served
from tests.builders.batches import make_inputs
from tests.builders.manifests import make_architecture
from tests.builders.trainer import make_batch, make_settings

if TYPE_CHECKING:
    from millstream_trainer.sources.decoding import EventBatch

CPU = torch.device("cpu")
OF_SEVERAL = ("DIN", "MLP")
logits = st.floats(-200, 200, width=32)


def chance(logit: float) -> Decimal:
    return 1 / (1 + (-Decimal(logit)).exp())


def logit_of_both(click: float, conversion: float) -> float:
    """By definition, with so many digits that nothing is lost."""
    with localcontext() as context:
        context.prec = 400
        both = chance(click) * chance(conversion)
        return float((both / (1 - both)).ln())


@settings(deadline=None)
@given(logits, logits)
def test_what_is_served_is_the_chance_of_both(click: float, conversion: float) -> None:
    [found] = served(torch.tensor([[click, conversion]])).tolist()
    assert found == pytest.approx(logit_of_both(click, conversion), rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.tuples(logits, logits, st.sampled_from([(0, 0), (1, 0), (1, 1)])), min_size=1))
def test_the_loss_is_that_of_clicks_and_of_both_over_all_events(events: list) -> None:
    """ESMM: an event without a click teaches the chance of both as well."""
    outputs = torch.tensor([[click, conversion] for click, conversion, _ in events])
    labels = torch.tensor([each for *_, each in events], dtype=torch.float32)
    expected = 0.0
    for click, conversion, (is_click, is_conversion) in events:
        for logit, happened in (
            (click, is_click),
            (logit_of_both(click, conversion), is_conversion),
        ):
            expected += float(np.logaddexp(0.0, -logit if happened else logit)) / len(events)
    found = loss(outputs, labels[:, 0], labels[:, 1]).item()
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_one_task_has_the_loss_of_clicks_and_serves_them() -> None:
    outputs, clicks = torch.tensor([[0.5], [-2.0]]), torch.tensor([1.0, 0.0])
    expected = np.log1p(np.exp([-0.5, -2.0])).mean()
    assert loss(outputs, clicks, None).item() == pytest.approx(expected)
    assert served(outputs).tolist() == [0.5, -2.0]


@pytest.mark.parametrize("click", [-80.0, 0.0, 80.0])
@pytest.mark.parametrize("conversion", [-80.0, 0.0, 80.0])
@pytest.mark.parametrize("happened", [(0, 0), (1, 0), (1, 1)])
def test_gradients_stay_finite_where_the_network_is_sure(click, conversion, happened) -> None:
    outputs = torch.tensor([[click, conversion]], requires_grad=True)
    labels = torch.tensor([happened], dtype=torch.float32)
    torch.autograd.backward(loss(outputs, labels[:, 0], labels[:, 1]))
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("name", OF_SEVERAL)
def test_each_task_is_a_network_of_its_own_on_shared_layers(name: str) -> None:
    """Apart from the last layer there is nothing that one of them has for itself."""
    layers = {"embedding_dim": 4, "history_length": 3, "head": (8, 6)}
    attention = (8, 6) if name == "DIN" else ()
    one = make_architecture(name=name, attention=attention, **layers)
    inputs = make_inputs(one)
    two = one.changed(tasks=CLICK_AND_CONVERSION)
    together, alone = network_of(two, 1), network_of(one, 2)
    weights = together.tensors()
    assert weights["head.2.weight"].shape == (2, 6)
    for task in range(2):
        own = {each: weights[f"head.2.{each}"][task : task + 1] for each in ("weight", "bias")}
        alone.load(weights | {f"head.2.{each}": array for each, array in own.items()})
        torch.testing.assert_close(together(inputs)[:, task], alone(inputs)[:, 0])


def make_model(architecture: str = "DIN") -> LiveModel:
    tasks = make_settings(architecture=architecture, tasks=CLICK_AND_CONVERSION)
    return LiveModel.fresh(Design.of(tasks), 0.01, CPU)


def batch_of(items: list[int], labels: list[int], conversions: list[int]) -> EventBatch:
    batch = make_batch([1] * len(items), items, labels)
    return replace(batch, conversion=np.array(conversions, np.float32))


@pytest.mark.parametrize("architecture", OF_SEVERAL)
def test_what_converts_comes_before_what_is_only_clicked(architecture: str) -> None:
    model = make_model(architecture)
    learner = Learner(model, sparse_learning_rate=0.05)
    for _ in range(150):
        learner.learn(batch_of([5, 6, 7], [1, 1, 0], [1, 0, 0]))
    found = learner.learn(batch_of([5, 6, 7], [1, 1, 0], [1, 0, 0]))
    assert min(found.click[:2]) > 2
    assert found.click[2] < 0
    assert found.served[0] > 1
    assert max(found.served[1:]) < -1


def test_of_one_task_what_is_served_is_the_click() -> None:
    model = LiveModel.fresh(Design.of(make_settings()), 0.01, CPU)
    found = Learner(model, sparse_learning_rate=0.05).learn(make_batch([1, 2], [5, 6], [1, 0]))
    assert found.served.tolist() == found.click.tolist()


@pytest.mark.parametrize("task", [0, 1])
def test_a_task_that_is_infinitely_sure_has_diverged(task: int) -> None:
    """Of a chance of one and another chance the product is finite."""
    model = make_model()
    with torch.no_grad():
        model.network.head[2].bias[task] = np.inf
    with pytest.raises(Diverged):
        Learner(model, sparse_learning_rate=0.05).learn(batch_of([5], [1], [0]))


def test_other_tasks_are_another_lineage_and_one_task_is_the_lineage_it_was() -> None:
    one, two = make_settings(), make_settings(tasks=CLICK_AND_CONVERSION)
    assert Design.of(one).lineage() == "570d0347f404"
    assert Design.of(two).lineage() != Design.of(one).lineage()
    assert b"tasks" not in Design.of(one).architecture.canonical()
    assert b'"tasks":["Click","Conversion"]' in Design.of(two).architecture.canonical()


@pytest.mark.parametrize("name", ["DotProduct", "Custom"])
def test_architectures_of_one_task_say_which_have_two(name: str) -> None:
    with pytest.raises(ValueError, match=f"only architectures DIN and MLP .* not {name}: name"):
        Design.of(make_settings(architecture=name, tasks=CLICK_AND_CONVERSION))


@pytest.mark.parametrize(
    "tasks",
    [(), ("Conversion",), ("Click", "Click"), ("Conversion", "Click"), ("Click", "Purchase")],
    ids=["none", "conversions alone", "clicks twice", "in the other order", "an unknown one"],
)
def test_other_tasks_are_refused(tasks: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="tasks"):
        make_settings(tasks=tasks)
