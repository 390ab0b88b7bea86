"""A multilayer perceptron over the rows of user and item and the mean of the history.

user row u, item row q, mean of the history m, context ──concat──► head ─► a logit for each task
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from millstream_trainer.models.networks import Inputs, Network, mean_of, mlp, through

if TYPE_CHECKING:
    from torch import Tensor

    from millstream_api.manifest import Architecture


class MLP(Network):
    """The network of `Architecture(name="MLP")`."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Draw the weights from `seed` alone, whatever else has been drawn before."""
        super().__init__()
        inputs = 3 * architecture.embedding_dim + architecture.context.width
        generator = torch.Generator().manual_seed(seed)
        self._head = mlp((inputs, *architecture.head, len(architecture.tasks)), generator)
        # Registered under the name that a version's dense file uses.
        self.head = nn.ModuleList(self._head)

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits, float32[B, T]."""
        seen = mean_of(inputs.history(), inputs.is_history)
        parts = [inputs.user(), inputs.item(), seen, *inputs.context()]
        return through(self._head, torch.cat(parts, dim=1))
