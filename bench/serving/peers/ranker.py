"""The same DIN in torch, as a data scientist hands it over; knows nothing of millstream.

`MODEL` names the folder of its files, `FACTORED=1` gives it the cut first attention layer:
W1 q + W2 k + W3 (q - k) + W4 (q * k) = (W1 + W3) q + (W2 - W3) k + W4 (q * k).
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

torch.set_num_threads(1)


class Ranker(nn.Module):
    """Scores candidates for one user."""

    def __init__(self, folder: Path, *, is_factored: bool) -> None:
        super().__init__()
        self.users = torch.from_numpy(np.load(folder / "user.npy"))
        self.items = torch.from_numpy(np.load(folder / "item.npy"))
        dense = dict(np.load(folder / "dense.npz"))
        self.attention = _network(dense, "attention")
        self.head = _network(dense, "head")
        self.is_factored = is_factored
        w1, w2, w3, w4 = self.attention[0].weight.detach().chunk(4, dim=1)
        self.query, self.key, self.product = (w1 + w3).T, (w2 - w3).T, w4.T

    @torch.inference_mode()
    def rank(self, user: int, items: list[int], history: list[int], k: int) -> dict[str, list]:
        """The k best of the items, and their probabilities."""
        candidates = torch.tensor(items)
        logits = self(self.users[user], self.items[candidates], self.items[torch.tensor(history)])
        best = torch.topk(logits, k)
        scores = torch.sigmoid(best.values)
        return {"items": candidates[best.indices].tolist(), "scores": scores.tolist()}

    def forward(
        self, user: torch.Tensor, items: torch.Tensor, history: torch.Tensor
    ) -> torch.Tensor:
        """Logits [n] of items [n, d] for user [d] with history [t, d]."""
        n, t, width = len(items), len(history), items.shape[1]
        if self.is_factored:
            first = (
                (items @ self.query).unsqueeze(1)
                + (history @ self.key).unsqueeze(0)
                + (items.unsqueeze(1) * history) @ self.product
                + self.attention[0].bias
            )
        else:
            q = items.unsqueeze(1).expand(n, t, width)
            keys = history.unsqueeze(0).expand(n, t, width)
            first = self.attention[0](torch.cat([q, keys, q - keys, q * keys], dim=-1))
        weights = torch.softmax(self.attention[1:](first).squeeze(-1), dim=1)
        interest = weights @ history
        return self.head(torch.cat([user.expand(n, width), items, interest], dim=1)).squeeze(-1)


def _network(dense: dict[str, np.ndarray], part: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(3):
        weight, bias = dense[f"{part}.{number}.weight"], dense[f"{part}.{number}.bias"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def from_environment() -> Ranker:
    """The model that this process serves."""
    return Ranker(Path(os.environ["MODEL"]), is_factored=os.environ.get("FACTORED") == "1")
