"""The architectures that the engine scores, each in a file of its own.

    manifest, dense weights ──network_of──► Network ──score──► logits of a request

A version has one network and asks it for nothing but scores: which weights, scratch memory and
kernels that takes is the network's own affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from millstream_serving.engine.din import Din
from millstream_serving.engine.graphs import Graph, refuse_layers
from millstream_serving.engine.layouts import UnknownArchitecture
from millstream_serving.engine.perceptrons import Perceptron
from millstream_serving.engine.towers import DotProduct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from millstream_api.manifest import Architecture
    from millstream_serving.engine.layouts import Vector
    from millstream_serving.engine.requests import Request
    from millstream_serving.engine.versions import ScratchPad


class Network(Protocol):
    """The dense part of a version, immutable and shared by all scoring threads."""

    def score(self, request: Request, pad: ScratchPad, logits: Vector) -> None:
        """Score the candidates of a request.

        Args:
            request: with N candidates and a context as wide as the architecture's.
            pad: of the calling thread.
            logits: float32[N], written.
        """

    def reduced(self) -> Network | None:
        """The same network in reduced precision; None where there is none on this processor."""


class Kind(Protocol):
    """How networks of one architecture are made."""

    @staticmethod
    def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """The shape of every dense weight by its name, as torch lays it out: [outputs, inputs].

        Raises:
            UnknownArchitecture: there is no kernel for layers like these.
        """

    @classmethod
    def of(cls, architecture: Architecture, dense: Mapping[str, NDArray[Any]]) -> Network:
        """Lay out the dense weights of a version.

        Args:
            architecture: from the manifest.
            dense: arrays by name; others than `shapes` names are not looked at.

        Raises:
            UnknownArchitecture: there is no kernel for it.
            MisshapenWeights: a weight is missing, or of another shape or type.
        """


KINDS: Final[Mapping[str, type[Kind]]] = {
    "DIN": Din,
    "DotProduct": DotProduct,
    "MLP": Perceptron,
}


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """See `Kind.shapes`; a graph says itself which weights it reads."""
    if architecture.name == "Custom":
        refuse_layers(architecture)
        return {}
    return _kind(architecture).shapes(architecture)


def network_of(
    architecture: Architecture, dense: Mapping[str, NDArray[Any]], graph: bytes | None = None
) -> Network:
    """See `Kind.of`; a Custom architecture needs its graph, and raises UnfitGraph of a bad one."""
    if architecture.name == "Custom":
        assert graph is not None, "checked before fetching"
        return Graph.of(architecture, dense, graph)
    return _kind(architecture).of(architecture, dense)


def _kind(architecture: Architecture) -> type[Kind]:
    try:
        return KINDS[architecture.name]
    except KeyError as error:
        known = ", ".join(KINDS)
        raise UnknownArchitecture(f"this server scores {known}, not {architecture.name}") from error
