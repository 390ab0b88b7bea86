"""DIN against its definition, written out without tricks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from millstream_trainer.models.din import DIN
from millstream_trainer.models.networks import Inputs
from tests.builders.manifests import make_architecture

ARCHITECTURE = make_architecture(embedding_dim=4, history_length=3)


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
        is_history,
    )  # fmt: skip


def by_definition(tensors: dict[str, np.ndarray], inputs: Inputs) -> list[float]:
    """Event by event and place by place, in double precision, with the plain concatenation."""
    weights = {name: value.astype(np.float64) for name, value in tensors.items()}

    def mlp(part: str, hidden: np.ndarray) -> float:
        for layer in range(3):
            hidden = weights[f"{part}.{layer}.weight"] @ hidden + weights[f"{part}.{layer}.bias"]
            hidden = np.maximum(hidden, 0) if layer < 2 else hidden
        return float(hidden[0])

    users, items = inputs.users.double().numpy(), inputs.items.double().numpy()
    logits = []
    for event in range(len(inputs.user_index)):
        q = items[inputs.item_index[event]]
        keys = [
            items[inputs.history_index[event, place]]
            for place in range(3)
            if inputs.is_history[event, place]
        ]
        interest = np.zeros(4)
        if keys:
            scores = np.array(
                [mlp("attention", np.concatenate([q, k, q - k, q * k])) for k in keys]
            )
            shares = np.exp(scores - scores.max())
            interest = (shares / shares.sum()) @ np.array(keys)
        user = users[inputs.user_index[event]]
        logits.append(mlp("head", np.concatenate([user, q, interest])))
    return logits


@pytest.mark.parametrize("seed", range(5))
def test_logits_are_those_of_the_definition(seed: int) -> None:
    network, inputs = DIN(ARCHITECTURE, seed), make_inputs(seed)
    found = network(inputs).detach().numpy()
    np.testing.assert_allclose(found, by_definition(network.tensors(), inputs), atol=1e-6)


def test_padding_changes_nothing_and_learns_nothing() -> None:
    network, inputs = DIN(ARCHITECTURE, 1), make_inputs(1)
    items = torch.cat((inputs.items, torch.full((1, 4), 7.0))).requires_grad_()
    padded = torch.where(inputs.is_history, inputs.history_index, 5)
    logits = network(
        Inputs(inputs.users, items, inputs.user_index, inputs.item_index, padded, inputs.is_history)
    )
    torch.testing.assert_close(logits, network(inputs))
    torch.autograd.backward(logits.sum())
    assert items.grad is not None
    assert not items.grad[5].any()


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = DIN(ARCHITECTURE, 5).tensors()
    torch.manual_seed(2)
    second, other = DIN(ARCHITECTURE, 5).tensors(), DIN(ARCHITECTURE, 6).tensors()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_names_and_shapes_are_those_of_the_contract() -> None:
    shapes = {name: value.shape for name, value in DIN(ARCHITECTURE, 0).tensors().items()}
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


def test_loading_takes_over_every_weight() -> None:
    first, second, inputs = DIN(ARCHITECTURE, 1), DIN(ARCHITECTURE, 2), make_inputs()
    assert not torch.equal(first(inputs), second(inputs))
    second.load(first.tensors())
    assert torch.equal(first(inputs), second(inputs))
