"""What all networks share: what they are given, how their layers begin, how they travel.

A network never sees a table: rows come in as leaf tensors of distinct rows and indices into
them, so any table works and their gradients come out as dense [rows, d] blocks.

Shapes: B events, L history places, d embedding width, R distinct item rows, U distinct user rows,
C distinct rows of the context, e their width, K rows and F floats that an event has of a context,
E = K · e + F, T tasks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Inputs:
    """One batch as a network takes it."""

    users: Tensor  # float32[U, d] distinct user rows
    items: Tensor  # float32[R, d] distinct item rows, of candidates and histories
    user_index: Tensor  # int64[B] into users
    item_index: Tensor  # int64[B] into items
    history_index: Tensor  # int64[B, L] into items; anything where masked
    is_history: Tensor  # bool[B, L] False: padding
    # Of models that read a context:
    context_rows: Tensor | None = None  # float32[C, e] distinct rows
    context_index: Tensor | None = None  # int64[B, K] into context_rows
    context_floats: Tensor | None = None  # float32[B, F]

    def user(self) -> Tensor:
        """The row of each event's user, float32[B, d]."""
        return functional.embedding(self.user_index, self.users)

    def item(self) -> Tensor:
        """The row of each event's item, float32[B, d]."""
        return functional.embedding(self.item_index, self.items)

    def history(self) -> Tensor:
        """The rows of each event's history, float32[B, L, d]; anything where masked."""
        return functional.embedding(self.history_index, self.items)

    def context(self) -> list[Tensor]:
        """What is read of each event's context, float32[B, E] in parts; none: no part."""
        parts = []
        if self.context_rows is not None and self.context_index is not None:
            parts.append(functional.embedding(self.context_index, self.context_rows).flatten(1))
        if self.context_floats is not None:
            parts.append(self.context_floats)
        return parts


class Network(nn.Module):
    """Maps `Inputs` to logits, float32[B, T]; its state has the names of a version's dense file."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All weights by their names in a version's dense file, copied."""
        return {name: np.array(value.cpu().numpy()) for name, value in self.state_dict().items()}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights of these names; KeyError or RuntimeError where they do not fit."""
        self.load_state_dict(
            {name: torch.from_numpy(np.array(tensors[name])) for name in self.state_dict()}
        )


def mlp(widths: Sequence[int], generator: torch.Generator) -> list[nn.Linear]:
    """Linear layers of these widths: weights uniform within 1/√inputs, biases 0."""
    layers = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        bound = inputs**-0.5
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        layers.append(layer)
    return layers


def through(layers: Sequence[nn.Linear], hidden: Tensor) -> Tensor:
    """ReLU between the layers, none after the last."""
    last = len(layers) - 1
    for number, layer in enumerate(layers):
        hidden = layer(hidden)
        if number < last:
            hidden = torch.relu(hidden)
    return hidden


def mean_of(history: Tensor, is_history: Tensor) -> Tensor:
    """The mean row of each history, float32[B, d]; zeros of an empty one."""
    mask = is_history.to(history.dtype)
    total = torch.bmm(mask.unsqueeze(1), history).squeeze(1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)
