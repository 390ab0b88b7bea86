"""Each network against its definition, event by event; what padding, seeds and loading do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from millstream_api.manifest import Architecture, ContextInputs
from millstream_trainer.design import Design
from millstream_trainer.models.architectures import network_of
from millstream_trainer.models.networks import Inputs
from tests.builders.batches import ITEMS, logits_by_definition, make_inputs
from tests.builders.manifests import make_architecture
from tests.builders.trainer import make_settings

NAMES = ("DIN", "DotProduct", "MLP")
NONE, SOME = ContextInputs(), ContextInputs(rows=2, dim=3, floats=1)
in_any_context = pytest.mark.parametrize("context", [NONE, SOME], ids=["no context", "a context"])
of_each_name = pytest.mark.parametrize("name", NAMES)


def make(name: str, context: ContextInputs) -> Architecture:
    attention = (64, 32) if name == "DIN" else ()
    return make_architecture(
        name=name, embedding_dim=4, history_length=3, attention=attention, context=context
    )


@of_each_name
@in_any_context
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_those_of_the_definition(name: str, context: ContextInputs, seed: int) -> None:
    architecture = make(name, context)
    network, inputs = network_of(architecture, seed), make_inputs(architecture, seed)
    [found] = network(inputs).detach().numpy().T
    wanted = logits_by_definition(architecture, network.tensors(), inputs)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@of_each_name
@in_any_context
def test_padding_changes_nothing_and_learns_nothing(name: str, context: ContextInputs) -> None:
    architecture = make(name, context)
    network, inputs = network_of(architecture, 1), make_inputs(architecture, 1)
    items = torch.cat((inputs.items, torch.full((1, 4), 7.0))).requires_grad_()
    padded = torch.where(inputs.is_history, inputs.history_index, ITEMS)
    logits = network(
        Inputs(
            inputs.users, items, inputs.user_index, inputs.item_index, padded, inputs.is_history,
            inputs.context_rows, inputs.context_index, inputs.context_floats,
        )
    )  # fmt: skip
    torch.testing.assert_close(logits, network(inputs))
    torch.autograd.backward(logits.sum())
    assert items.grad is not None
    assert not items.grad[ITEMS].any()


@of_each_name
def test_weights_depend_on_the_seed_alone_and_can_be_taken_over(name: str) -> None:
    architecture = Design.of(make_settings(architecture=name)).architecture
    torch.manual_seed(1)
    first = network_of(architecture, 5)
    torch.manual_seed(2)
    second, other = network_of(architecture, 5), network_of(architecture, 6)
    ours, theirs, others = (each.tensors() for each in (first, second, other))
    assert all(np.array_equal(ours[each], theirs[each]) for each in ours)
    assert any(not np.array_equal(ours[each], others[each]) for each in ours)
    other.load(ours)
    assert all(np.array_equal(other.tensors()[each], ours[each]) for each in ours)


def test_names_and_shapes_of_din_are_those_of_the_contract() -> None:
    shapes = {
        name: value.shape for name, value in network_of(make("DIN", NONE), 0).tensors().items()
    }
    assert shapes == {
        "attention.0.weight": (64, 16),
        "attention.0.bias": (64,),
        "attention.1.weight": (32, 64),
        "attention.1.bias": (32,),
        "attention.2.weight": (1, 32),
        "attention.2.bias": (1,),
        "head.0.weight": (128, 12),
        "head.0.bias": (128,),
        "head.1.weight": (64, 128),
        "head.1.bias": (64,),
        "head.2.weight": (1, 64),
        "head.2.bias": (1,),
    }


def test_another_architecture_is_another_lineage() -> None:
    lineages = {name: Design.of(make_settings(architecture=name)).lineage() for name in NAMES}
    assert len(set(lineages.values())) == 3
    assert lineages["DIN"] == Design.of(make_settings()).lineage() == "570d0347f404"
