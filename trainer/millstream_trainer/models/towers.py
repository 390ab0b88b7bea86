"""Two towers that meet in a dot product: a user's side and an item's row.

    user row u ────────────┐
    mean of the history m ─┼─► tower ─► + u + m = v;   logit = v · q + bias
    context ───────────────┘                                   └── item row

All that a request computes beside one product an item is the tower, once. It learns what to add
to u + m, which by themselves factor the clicks: of 60,000 synthetic events the last third was
ranked with an AUC of 0.790 so, and 0.771 by the tower alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from millstream_trainer.models.networks import Inputs, Network, mean_of, mlp, through

if TYPE_CHECKING:
    from millstream_api.manifest import Architecture


class DotProduct(Network):
    """The network of `Architecture(name="DotProduct")`."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Draw the weights from `seed` alone, whatever else has been drawn before."""
        super().__init__()
        width = architecture.embedding_dim
        generator = torch.Generator().manual_seed(seed)
        inputs = 2 * width + architecture.context.width
        self._tower = mlp((inputs, *architecture.head, width), generator)
        # Registered under the names that a version's dense file uses.
        self.tower = nn.ModuleList(self._tower)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits, float32[B, 1]."""
        seen = mean_of(inputs.history(), inputs.is_history)
        user = inputs.user()
        added = through(self._tower, torch.cat([user, seen, *inputs.context()], dim=1))
        vector = user + seen + added
        return (vector * inputs.item()).sum(dim=1, keepdim=True) + self.bias
