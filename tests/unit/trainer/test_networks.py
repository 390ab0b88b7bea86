"""MLP and DotProduct against their definitions, written out event by event."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from millstream_api.manifest import ContextInputs
from millstream_trainer.design import Design
from millstream_trainer.models.architectures import network_of
from millstream_trainer.models.networks import Inputs
from tests.builders.manifests import make_architecture
from tests.builders.trainer import make_settings

CONTEXT = ContextInputs(rows=2, dim=3, floats=1)
FLAT = ("DotProduct", "MLP")


def make(name: str):
    return make_architecture(
        name=name, embedding_dim=4, history_length=3, attention=(), head=(8, 6), context=CONTEXT
    )


def make_inputs(seed: int = 0, events: int = 6) -> Inputs:
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.normal(size=shape).astype(np.float32))

    def index(bound: int, *shape: int) -> torch.Tensor:
        return torch.from_numpy(random.integers(0, bound, shape))

    is_history = torch.from_numpy(random.random((events, 3)) < 0.6)
    is_history[0] = False
    is_history[1] = True
    return Inputs(
        normal(3, 4), normal(5, 4), index(3, events), index(5, events), index(5, events, 3),
        is_history, normal(7, 3), index(7, events, 2), normal(events, 1),
    )  # fmt: skip


def by_definition(name: str, tensors: dict[str, np.ndarray], inputs: Inputs) -> list[float]:
    weights = {key: value.astype(np.float64) for key, value in tensors.items()}

    def mlp(part: str, hidden: np.ndarray) -> np.ndarray:
        for layer in range(3):
            hidden = weights[f"{part}.{layer}.weight"] @ hidden + weights[f"{part}.{layer}.bias"]
            hidden = np.maximum(hidden, 0) if layer < 2 else hidden
        return hidden

    users, items, contexts, floats = (
        each.double().numpy()
        for each in (inputs.users, inputs.items, inputs.context_rows, inputs.context_floats)
    )
    logits = []
    for event in range(len(inputs.user_index)):
        user, item = users[inputs.user_index[event]], items[inputs.item_index[event]]
        seen = [
            items[inputs.history_index[event, place]]
            for place in range(3)
            if inputs.is_history[event, place]
        ]
        mean = np.mean(seen, axis=0) if seen else np.zeros(4)
        context = np.concatenate([contexts[inputs.context_index[event]].ravel(), floats[event]])
        if name == "MLP":
            logits.append(float(mlp("head", np.concatenate([user, item, mean, context]))[0]))
        else:
            vector = user + mean + mlp("tower", np.concatenate([user, mean, context]))
            logits.append(float(vector @ item + weights["bias"][0]))
    return logits


@pytest.mark.parametrize("name", FLAT)
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_those_of_the_definition(name: str, seed: int) -> None:
    network, inputs = network_of(make(name), seed), make_inputs(seed)
    found = network(inputs).detach().numpy()
    np.testing.assert_allclose(found, by_definition(name, network.tensors(), inputs), atol=1e-6)


@pytest.mark.parametrize("name", FLAT)
def test_padding_changes_nothing_and_learns_nothing(name: str) -> None:
    network, inputs = network_of(make(name), 1), make_inputs(1)
    items = torch.cat((inputs.items, torch.full((1, 4), 7.0))).requires_grad_()
    padded = torch.where(inputs.is_history, inputs.history_index, 5)
    logits = network(
        Inputs(
            inputs.users, items, inputs.user_index, inputs.item_index, padded, inputs.is_history,
            inputs.context_rows, inputs.context_index, inputs.context_floats,
        )
    )  # fmt: skip
    torch.testing.assert_close(logits, network(inputs))
    torch.autograd.backward(logits.sum())
    assert items.grad is not None
    assert not items.grad[5].any()


@pytest.mark.parametrize("name", ["DIN", *FLAT])
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


def test_another_architecture_is_another_lineage() -> None:
    lineages = {
        name: Design.of(make_settings(architecture=name)).lineage() for name in ("DIN", *FLAT)
    }
    assert len(set(lineages.values())) == 3
    assert lineages["DIN"] == Design.of(make_settings()).lineage() == "570d0347f404"
