"""Each architecture as plain torch computes it for one request: what its kernel is held against.

The modules keep to the contract of architecture Custom, so each can be trained as one, too.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Scores as `Architecture(name=…)` of the class's name does."""

    def __init__(self, embedding_dim: int, history_length: int, context_width: int) -> None:
        del embedding_dim, history_length, context_width
        super().__init__()


class DIN(Plain):
    """With the plain concatenation of the paper."""

    def __init__(self, embedding_dim: int, history_length: int, context_width: int) -> None:
        super().__init__(embedding_dim, history_length, context_width)
        self.attention = _mlp(4 * embedding_dim, 64, 32, 1)
        self.head = _mlp(3 * embedding_dim, 128, 64, 1)

    def forward(
        self, user: Tensor, items: Tensor, history: Tensor, is_history: Tensor, context: Tensor
    ) -> Tensor:
        """See Plain."""
        del context
        shape = (-1, items.shape[1], history.shape[1], -1)
        query, keys = items.unsqueeze(2).expand(*shape), history.unsqueeze(1).expand(*shape)
        pairs = torch.cat([query, keys, query - keys, query * keys], dim=3)
        scores = self.attention(pairs).squeeze(3)
        mask = is_history.unsqueeze(1)
        interest = (torch.softmax(scores.masked_fill(~mask, -1e30), dim=2) * mask) @ history
        sides = user.unsqueeze(1).expand(-1, items.shape[1], -1)
        return self.combined(self.head(torch.cat([sides, items, interest], dim=2)))

    def combined(self, outputs: Tensor) -> Tensor:
        """Logits [B, N] of what the head says, [B, N, T]."""
        return outputs.squeeze(2)


class ClicksAndConversions(DIN):
    """DIN with a neuron for each, ranked by the chance of both."""

    def __init__(self, embedding_dim: int, history_length: int, context_width: int) -> None:
        super().__init__(embedding_dim, history_length, context_width)
        self.head = _mlp(3 * embedding_dim, 128, 64, 2)

    def combined(self, outputs: Tensor) -> Tensor:
        """See DIN."""
        click, conversion = outputs.unbind(dim=2)
        return torch.logit(torch.sigmoid(click) * torch.sigmoid(conversion))


class MLP(Plain):
    """One perceptron for each candidate."""

    def __init__(self, embedding_dim: int, history_length: int, context_width: int) -> None:
        super().__init__(embedding_dim, history_length, context_width)
        self.head = _mlp(3 * embedding_dim, 128, 64, 1)

    def forward(
        self, user: Tensor, items: Tensor, history: Tensor, is_history: Tensor, context: Tensor
    ) -> Tensor:
        """See Plain."""
        del context
        seen = history.sum(1) / is_history.sum(1, keepdim=True).clamp(min=1)
        shape = (-1, items.shape[1], -1)
        sides = [each.unsqueeze(1).expand(*shape) for each in (user, seen)]
        logits: Tensor = self.head(torch.cat([sides[0], items, sides[1]], dim=2)).squeeze(2)
        return logits


class DotProduct(Plain):
    """One vector for all candidates."""

    def __init__(self, embedding_dim: int, history_length: int, context_width: int) -> None:
        super().__init__(embedding_dim, history_length, context_width)
        self.tower = _mlp(2 * embedding_dim, 128, 64, embedding_dim)
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(
        self, user: Tensor, items: Tensor, history: Tensor, is_history: Tensor, context: Tensor
    ) -> Tensor:
        """See Plain."""
        del context
        seen = history.sum(1) / is_history.sum(1, keepdim=True).clamp(min=1)
        vector = user + seen + self.tower(torch.cat([user, seen], dim=1))
        logits: Tensor = (items @ vector.unsqueeze(2)).squeeze(2) + self.bias
        return logits


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
