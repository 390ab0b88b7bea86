"""The network of each architecture, as it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_trainer.models.custom import Custom
from millstream_trainer.models.din import DIN
from millstream_trainer.models.perceptrons import MLP
from millstream_trainer.models.towers import DotProduct

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millstream_api.manifest import Architecture
    from millstream_trainer.models.networks import Network

_NETWORKS: Final[Mapping[str, Callable[[Architecture, int], Network]]] = {
    "DIN": DIN,
    "DotProduct": DotProduct,
    "MLP": MLP,
    "Custom": Custom,
}


def network_of(architecture: Architecture, seed: int) -> Network:
    """A network that has learned nothing; equal architectures and seeds begin with equal bits."""
    return _NETWORKS[architecture.name](architecture, seed)
