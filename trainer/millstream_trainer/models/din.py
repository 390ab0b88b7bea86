"""DIN, the deep interest network, over rows that are gathered outside (Zhou et al., KDD 2018).

    history rows k_1..k_L ──attention by the item──► interest ─┐
    item row q ────────────────────────────────────────────────┼─► head ─► a logit for each task
    user row u ────────────────────────────────────────────────┤
    rows and floats of the context ────────────────────────────┘

Shapes as in `networks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from millstream_trainer.models.networks import Inputs, Network, mlp, through

if TYPE_CHECKING:
    from millstream_api.manifest import Architecture

# Finite, so that a history of nothing but padding gives no NaN; its weights are zeroed after.
MASKED: Final = -1e30


class DIN(Network):
    """The network of `Architecture(name="DIN")`."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Draw the weights from `seed` alone, whatever else has been drawn before."""
        super().__init__()
        width = architecture.embedding_dim
        generator = torch.Generator().manual_seed(seed)
        self._attention = mlp((4 * width, *architecture.attention, 1), generator)
        inputs = 3 * width + architecture.context.width
        self._head = mlp((inputs, *architecture.head, len(architecture.tasks)), generator)
        # Registered under the names that a version's dense file uses.
        self.attention = nn.ModuleList(self._attention)
        self.head = nn.ModuleList(self._head)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits, float32[B, T]."""
        query = inputs.item()
        interest = self._attend(query, inputs.history(), inputs.is_history)
        parts = [inputs.user(), query, interest, *inputs.context()]
        return through(self._head, torch.cat(parts, dim=1))

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
        scores = through(others, torch.relu(hidden)).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~is_history, MASKED), dim=1) * is_history
        return torch.bmm(weights.unsqueeze(1), keys).squeeze(1)
