"""DIN as an architecture of the engine: weights by `networks`, forward pass by `scoring`.

In reduced precision, by `reduced`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from millstream_serving.engine.contexts import in_context
from millstream_serving.engine.networks import prepare, prepare_context, shapes_of
from millstream_serving.engine.reduced import UNIT, reduced, reduced_scratch_for, score_reduced
from millstream_serving.engine.scoring import score, scratch_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture
    from millstream_serving.engine.layouts import Matrix, Vector
    from millstream_serving.engine.networks import Weights
    from millstream_serving.engine.reduced import ReducedScratch, ReducedWeights
    from millstream_serving.engine.requests import Request
    from millstream_serving.engine.scoring import Scratch
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
        make = partial(scratch_for, self.weights, self.history_length)
        score(
            self.weights_for(request),
            *request.user,
            *request.items,
            request.history.keys,
            request.history.slots,
            pad.fit(("DIN", *self.shape()), make),
            logits,
        )

    def reduced(self) -> ReducedDin | None:
        """See `architectures.Network`."""
        return ReducedDin(self, reduced(self.weights)) if UNIT.is_available() else None

    def weights_for(self, request: Request) -> Weights:
        """The weights as they are in the context of a request."""
        bias = in_context(self.weights.head_bias, self.context_part, request.context)
        return self.weights._replace(head_bias=bias)

    def shape(self) -> tuple[int, ...]:
        """All that the size of scratch memory depends on."""
        weights = self.weights
        return (*weights.query.shape, *weights.head_hidden.shape, self.history_length)


@dataclass(frozen=True, eq=False)
class ReducedDin:
    """A DIN whose attention is computed in bfloat16; see `architectures.Network`."""

    exact: Din
    weights: ReducedWeights

    def score(self, request: Request, pad: ScratchPad, logits: Vector) -> None:
        """See `architectures.Network`."""
        scratch, reduced_scratch = pad.fit(("reduced DIN", *self.exact.shape()), self._scratch)
        score_reduced(
            self.exact.weights_for(request),
            self.weights,
            *request.user,
            *request.items,
            request.history.keys,
            request.history.slots,
            scratch,
            reduced_scratch,
            logits,
        )

    def reduced(self) -> None:
        """See `architectures.Network`."""

    def _scratch(self) -> tuple[Scratch, ReducedScratch]:
        weights, length = self.exact.weights, self.exact.history_length
        return scratch_for(weights, length), reduced_scratch_for(weights, length)
