"""Custom: a model of the user's own, computed by ONNX Runtime over rows that kernels gather.

    graph (ONNX, the same for a lineage) ──weights of a version──► session ──► logits

Every version has a session of its own: one takes 4 to 12 ms to make, and with the weights as
constants a request takes a fifth less than with weights that are handed over each time. Sessions
have no threads: a scoring thread computes its request itself.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from millstream_serving.engine.layouts import UnknownArchitecture, refuse_conversions
from millstream_serving.engine.rows import gather
from millstream_serving.engine.sessions import OUTPUT, session_of
from millstream_serving.engine.trials import try_out

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

    from millstream_api.manifest import Architecture
    from millstream_serving.engine.layouts import Matrix, Vector
    from millstream_serving.engine.requests import Request
    from millstream_serving.engine.versions import ScratchPad

log = logging.getLogger(__name__)

BLOCK: Final = 128  # candidates scored together: bounds what a graph takes of memory


class Scratch(NamedTuple):
    """Inputs of a graph, of one scoring thread."""

    user: Matrix  # [1, d]
    items: Matrix  # [C, d]
    history: Matrix  # [L, d], padded at the beginning
    is_history: NDArray[np.bool_]  # [1, L]


def scratch_for(width: int, history_length: int) -> Scratch:
    """Scratch for rows of this width and histories of at most this length."""
    return Scratch(
        user=np.zeros((1, width), np.float32),
        items=np.zeros((BLOCK, width), np.float32),
        history=np.zeros((history_length, width), np.float32),
        is_history=np.zeros((1, history_length), np.bool_),
    )


def refuse_layers(architecture: Architecture) -> None:
    """Raise UnknownArchitecture where a Custom architecture is not described by a graph alone."""
    refuse_conversions(architecture)
    if architecture.graph is None or architecture.head or architecture.attention:
        raise UnknownArchitecture("a Custom architecture names its graph and no layers")


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph with the weights of a version; see `architectures.Network`."""

    width: int
    history_length: int
    session: InferenceSession
    failed: threading.Event = field(default_factory=threading.Event)  # ever, and it was said

    @classmethod
    def of(
        cls, architecture: Architecture, dense: Mapping[str, NDArray[Any]], graph: bytes
    ) -> Self:
        """A session of this graph and these weights.

        Raises:
            UnfitGraph: no graph of the contract (`trials`).
            MisshapenWeights: a weight is missing, or of another shape or type.
        """
        width, length = architecture.embedding_dim, architecture.history_length
        try_out(graph, width, length, architecture.context.width)
        return cls(width, length, session_of(graph, dense))

    def score(self, request: Request, pad: ScratchPad, logits: Vector) -> None:
        """See `architectures.Network`; where the graph fails, no score is a number."""
        length = self.history_length
        shape = ("Custom", self.width, length)
        scratch = pad.fit(shape, partial(scratch_for, self.width, length))
        gather(*request.user, 0, 1, scratch.user)
        seen = len(request.history.slots) // int(request.history.rows.parts)
        scratch.history[: length - seen] = 0
        gather(*request.history, 0, seen, scratch.history[length - seen :])
        scratch.is_history[0] = np.arange(length) >= length - seen
        given = {
            "user": scratch.user,
            "history": scratch.history[None],
            "is_history": scratch.is_history,
            "context": request.context,
        }
        for start in range(0, len(logits), BLOCK):
            block = min(BLOCK, len(logits) - start)
            gather(*request.items, start, block, scratch.items)
            try:
                [found] = self.session.run([OUTPUT], given | {"items": scratch.items[None, :block]})
                logits[start : start + block] = found.reshape(block)
            except Exception:  # whatever it is, another version can answer
                if not self.failed.is_set():  # once: every request may bring it about
                    self.failed.set()
                    log.exception("a Custom graph failed on a request, which gets no score from it")
                logits[:] = np.nan
                return

    def reduced(self) -> None:
        """See `architectures.Network`: a graph is computed as its writer wrote it."""
