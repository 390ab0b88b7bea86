"""Several tasks as one score and as one loss, as ESMM does (Ma et al., SIGIR 2018).

    logit of a click ────────────┬───────────► loss against clicks
                                 ├─► logit of both ─► loss against conversions, what is served
    of a click's conversion ─────┘

Conversions are learned from all events by the chance of both, never from clicked ones alone: all
items are ranked, and those that were clicked are a different lot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def served(logits: Tensor) -> Tensor:
    """What a server ranks by: the logit of all tasks together, float32[B].

    Args:
        logits: float32[B, T], T = 1 or 2.
    """
    click, *others = logits.unbind(dim=1)
    if not others:
        return click
    [conversion] = others
    # With p and q the two chances, (1 − pq) / pq = e^−a + e^−b + e^−(a+b): nothing is subtracted
    # that is nearly equal, however sure the network is.
    return -torch.logsumexp(torch.stack([-click, -conversion, -click - conversion]), dim=0)


def loss(logits: Tensor, clicks: Tensor, conversions: Tensor | None) -> Tensor:
    """The mean cross-entropy of clicks, and of conversions beside it; a scalar.

    Args:
        logits: float32[B, T].
        clicks: float32[B], 0 or 1.
        conversions: float32[B], 0 or 1, none without a click; None: of models of one task.
    """
    of_clicks = functional.binary_cross_entropy_with_logits(logits[:, 0], clicks)
    if conversions is None:
        return of_clicks
    return of_clicks + functional.binary_cross_entropy_with_logits(served(logits), conversions)
