"""A module as a user writes one for architecture Custom, and others that break the contract."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ranker(nn.Module):
    """Attention by scaled dot product, then a perceptron; none of the engine's own kernels."""

    def __init__(self, embedding_dim: int, history_length: int, context_width: int) -> None:
        super().__init__()
        width = embedding_dim
        self.places = nn.Parameter(torch.zeros(history_length, width))
        self.query = nn.Linear(width, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(
            nn.Linear(3 * width + context_width, 32), nn.GELU(), nn.Linear(32, 1)
        )
        self.register_buffer("scale", torch.full((1,), width**-0.5), persistent=False)
        self.register_buffer("steps", torch.arange(history_length))

    def forward(
        self, user: Tensor, items: Tensor, history: Tensor, is_history: Tensor, context: Tensor
    ) -> Tensor:
        keys = history + self.places[self.steps]
        scores = (self.query(items) @ keys.transpose(1, 2)) * self.scale
        mask = is_history.unsqueeze(1)
        shares = torch.softmax(scores.masked_fill(~mask, -1e9), dim=2) * mask
        user = self.norm(user)
        sides = torch.cat([user, context], dim=1).unsqueeze(1).expand(-1, items.shape[1], -1)
        joined = torch.cat([items, shares @ history, sides], dim=2)
        return self.head(self.drop(joined)).squeeze(2)


class Flat(Ranker):
    """Forgets that there are many candidates."""

    def forward(self, *given: Tensor) -> Tensor:
        return super().forward(*given).squeeze(0)


class Branching(Ranker):
    """Cannot be a graph."""

    def forward(self, *given: Tensor) -> Tensor:
        logits = super().forward(*given)
        return logits if logits.sum().item() > 0 else -logits


class Raising(Ranker):
    """Does not get that far."""

    def forward(self, *_: Tensor) -> Tensor:
        raise RuntimeError("no weights today")


def not_a_module() -> None:
    """A function."""
