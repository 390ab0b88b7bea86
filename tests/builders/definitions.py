"""What each architecture scores, written out in double precision and without any trick.

Trainer and server each compute this in a way of their own; the tests of both hold them to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = NDArray[np.float64]

NO_CONTEXT: Row = np.empty(0)


def logit_by_definition(
    name: str, dense: Mapping[str, NDArray[Any]], user: Row, item: Row, seen: Row,
    context: Row = NO_CONTEXT,
) -> float:  # fmt: skip
    """The logit of one candidate.

    Args:
        name: of the architecture.
        dense: its weights by torch name.
        user: [d].
        item: [d], the candidate.
        seen: [T, d], the history without its filler.
        context: [E].
    """
    if name == "DIN":
        interest = _interest(dense, item, seen)
        return float(perceptron(dense, "head", user, item, interest, context)[0])
    mean = seen.mean(axis=0) if len(seen) else np.zeros_like(item)
    if name == "MLP":
        return float(perceptron(dense, "head", user, item, mean, context)[0])
    assert name == "DotProduct", name
    vector = user + mean + perceptron(dense, "tower", user, mean, context)
    return float(vector @ item + dense["bias"][0])


def perceptron(dense: Mapping[str, NDArray[Any]], part: str, *inputs: Row) -> Row:
    """Three layers over inputs one behind the other; the last is not rectified."""
    x = np.concatenate(inputs)
    for layer in range(3):
        weight, bias = (dense[f"{part}.{layer}.{each}"] for each in ("weight", "bias"))
        x = weight.astype(np.float64) @ x + bias
        x = np.maximum(x, 0) if layer < 2 else x
    return x


def _interest(dense: Mapping[str, NDArray[Any]], item: Row, seen: Row) -> Row:
    """DIN's sum of the history, each item by its share of the candidate's attention."""
    if not len(seen):
        return np.zeros_like(item)
    attention = np.array(
        [perceptron(dense, "attention", item, k, item - k, item * k)[0] for k in seen]
    )
    shares = np.exp(attention - attention.max())
    return (shares / shares.sum()) @ seen
