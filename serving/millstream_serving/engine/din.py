"""DIN as an architecture of the engine: weights by `networks`, forward pass by `scoring`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from millstream_serving.engine.contexts import in_context
from millstream_serving.engine.networks import prepare, prepare_context, shapes_of
from millstream_serving.engine.scoring import score, scratch_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture
    from millstream_serving.engine.layouts import Matrix, Vector
    from millstream_serving.engine.networks import Weights
    from millstream_serving.engine.requests import Request
    from millstream_serving.engine.versions import ScratchPad


@dataclass(frozen=True, eq=False)
class Din:
    """A DIN, ready to score; see `architectures.Network`."""

    history_length: int
    weights: Weights
    context_part: Matrix  # of the head's first layer, [E, H1]

    @staticmethod
    def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """See `networks.shapes_of`."""
        return shapes_of(architecture)

    @classmethod
    def of(cls, architecture: Architecture, dense: Mapping[str, NDArray[Any]]) -> Self:
        """See `networks.prepare`."""
        weights = prepare(architecture, dense)
        return cls(architecture.history_length, weights, prepare_context(architecture, dense))

    def score(self, request: Request, pad: ScratchPad, logits: Vector) -> None:
        """See `architectures.Network`."""
        weights, length = self.weights, self.history_length
        shape = ("DIN", *weights.query.shape, *weights.head_hidden.shape, length)
        bias = in_context(weights.head_bias, self.context_part, request.context)
        score(
            weights._replace(head_bias=bias),
            *request.user,
            *request.items,
            request.history.keys,
            request.history.slots,
            pad.fit(shape, partial(scratch_for, weights, length)),
            logits,
        )
