"""DIN, the deep interest network, over rows that are gathered outside (Zhou et al., KDD 2018).

    history rows k_1..k_L ──attention by the item──► interest ─┐
    item row q ────────────────────────────────────────────────┼─► head ─► logit
    user row u ────────────────────────────────────────────────┤
    rows and floats of the context ────────────────────────────┘

The network never sees a table: rows come in as leaf tensors of distinct rows and indices into
them, so any table works and their gradients come out as dense [rows, d] blocks.

Shapes: B events, L history places, d embedding width, R distinct item rows, U distinct user rows,
C distinct rows of the context, e their width, K rows and F floats that an event has of a context.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture

# Finite, so that a history of nothing but padding gives no NaN; its weights are zeroed after.
MASKED: Final = -1e30


@dataclass(frozen=True)
class Inputs:
    """One batch as the network takes it."""

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


class DIN(nn.Module):
    """The network of `Architecture(name="DIN")`."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Draw the weights from `seed` alone, whatever else has been drawn before."""
        super().__init__()
        width = architecture.embedding_dim
        generator = torch.Generator().manual_seed(seed)
        self._attention = _mlp((4 * width, *architecture.attention, 1), generator)
        self._head = _mlp(
            (3 * width + architecture.context.width, *architecture.head, 1), generator
        )
        # Registered under the names that a version's dense file uses.
        self.attention = nn.ModuleList(self._attention)
        self.head = nn.ModuleList(self._head)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits, float32[B]."""
        query = functional.embedding(inputs.item_index, inputs.items)
        keys = functional.embedding(inputs.history_index, inputs.items)
        user = functional.embedding(inputs.user_index, inputs.users)
        interest = self._attend(query, keys, inputs.is_history)
        parts = [user, query, interest]
        if inputs.context_rows is not None and inputs.context_index is not None:
            parts.append(functional.embedding(inputs.context_index, inputs.context_rows).flatten(1))
        if inputs.context_floats is not None:
            parts.append(inputs.context_floats)
        return _through(self._head, torch.cat(parts, dim=1)).squeeze(-1)

    def _attend(self, query: Tensor, keys: Tensor, is_history: Tensor) -> Tensor:
        """Interests, float32[B, d]: histories weighted by what the candidate makes of them."""
        first, *others = self._attention
        # The layer over concat(q, k, q − k, q ∘ k), factored so that the 4d-wide input of every
        # (event, place) is never formed: (W1 + W3) q + (W2 − W3) k + W4 (q ∘ k).
        w1, w2, w3, w4 = first.weight.chunk(4, dim=1)
        hidden = (
            functional.linear(query, w1 + w3, first.bias).unsqueeze(1)
            + functional.linear(keys, w2 - w3)
            + functional.linear(query.unsqueeze(1) * keys, w4)
        )
        scores = _through(others, torch.relu(hidden)).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~is_history, MASKED), dim=1) * is_history
        return torch.bmm(weights.unsqueeze(1), keys).squeeze(1)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All weights by their names in a version's dense file, copied."""
        return {name: np.array(value.cpu().numpy()) for name, value in self.state_dict().items()}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights of these names; KeyError or RuntimeError where they do not fit."""
        self.load_state_dict(
            {name: torch.from_numpy(np.array(tensors[name])) for name in self.state_dict()}
        )


def _mlp(widths: Sequence[int], generator: torch.Generator) -> list[nn.Linear]:
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


def _through(layers: Sequence[nn.Linear], hidden: Tensor) -> Tensor:
    """ReLU between the layers, none after the last."""
    last = len(layers) - 1
    for number, layer in enumerate(layers):
        hidden = layer(hidden)
        if number < last:
            hidden = torch.relu(hidden)
    return hidden
