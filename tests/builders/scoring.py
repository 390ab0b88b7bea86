"""Requests over rows that a test makes up, their logits, and the sizes where kernels could err."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from millstream_api.manifest import Architecture, DefaultRow
from millstream_serving.engine.requests import Lookup, Request
from millstream_serving.engine.rows import stored_rows
from millstream_serving.engine.versions import ScratchPad
from tests.builders.serving import make_architecture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _pytest.mark import ParameterSet
    from numpy.typing import ArrayLike

    from millstream_serving.engine.architectures import Network


def make_shape(name: str = "DIN", **changes: Any) -> Architecture:
    """A small architecture of this name; attention is for DIN alone and left out elsewhere."""
    attention = {} if name == "DIN" else {"attention": ()}
    return make_architecture(name=name, **changes | attention)


def sizes(block: int, *more: ParameterSet) -> list[ParameterSet]:
    """Changes of an architecture, candidates and items of history.

    Args:
        block: how many candidates a kernel takes together.
        more: sizes that matter to one kernel alone.
    """
    benchmark = {"embedding_dim": 64, "attention": (64, 32), "head": (128, 64)}
    return [
        pytest.param({}, 1, 5, id="one candidate with a full history"),
        pytest.param({}, block, 3, id="exactly one block of candidates"),
        pytest.param({}, block + 1, 1, id="one candidate beyond a block, one item of history"),
        pytest.param({}, 7, 0, id="a user without a history"),
        pytest.param(
            {"embedding_dim": 5, "attention": (17, 3), "head": (33, 1)}, 9, 4, id="odd widths"
        ),
        pytest.param(benchmark | {"history_length": 50}, 100, 50, id="the size of the benchmark"),
        *more,
    ]


def make_request(
    rows: NDArray[np.float32],
    user: int,
    items: Sequence[int],
    history: Sequence[int],
    context: ArrayLike = (),
) -> Request:
    """A request over rows [any, d] where the key of each row is its slot; -1: it has none."""
    stored = stored_rows(rows, "float32", DefaultRow())

    def lookup(slots: Sequence[int]) -> Lookup:
        return Lookup(stored, np.array(slots, np.int64), np.array(slots, np.int32))

    inputs = np.array(context, np.float32)[None]
    return Request(lookup([user]), lookup(items), lookup(history), inputs)


def logits_of(
    network: Network, request: Request, pad: ScratchPad | None = None
) -> NDArray[np.float32]:
    """What a network makes of each candidate, on scratch of its own where none is given."""
    logits = np.full(len(request.items.keys), np.nan, np.float32)
    network.score(request, pad or ScratchPad(), logits)
    return logits
