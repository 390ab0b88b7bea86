"""Dense weights of torch, laid out for the kernels: widths padded with zeros to whole tiles."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from millstream_api.manifest import CLICK
from millstream_serving.engine.lines import zeros
from millstream_serving.engine.tiles import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from millstream_api.manifest import Architecture

Matrix = NDArray[np.float32]
Vector = NDArray[np.float32]


class UnknownArchitecture(ValueError):  # noqa: N818 - named for what is wrong
    """This program has no kernel for the model that a manifest describes."""


class MisshapenWeights(ValueError):  # noqa: N818
    """Dense weights do not have the shapes that their architecture gives them."""


def layer_shapes(part: str, widths: Iterable[int]) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights and biases of linear layers from each width to the next."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, (inputs, outputs) in enumerate(pairwise(widths)):
        shapes[f"{part}.{layer}.weight"] = (outputs, inputs)
        shapes[f"{part}.{layer}.bias"] = (outputs,)
    return shapes


def refuse_conversions(architecture: Architecture) -> None:
    """Raise UnknownArchitecture where a model of clicks alone has other tasks."""
    if architecture.tasks != CLICK:
        raise UnknownArchitecture(
            f"this server scores {architecture.name} with one task, not "
            f"{' and '.join(architecture.tasks)}"
        )


def refuse_misshapen(
    shapes: Mapping[str, tuple[int, ...]], dense: Mapping[str, NDArray[Any]]
) -> None:
    """Raise MisshapenWeights where a weight is missing, or of another shape or type."""
    for name, shape in shapes.items():
        found = dense.get(name)
        if found is None or found.shape != shape or found.dtype != np.float32:
            described = "missing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise MisshapenWeights(f"{name} must be float32{list(shape)} and is {described}")


def padded(width: int) -> int:
    """The width of whole tiles."""
    return -(-width // COLUMNS) * COLUMNS


def as_matrix(weight: NDArray[np.float32], *, pad_inputs: bool = False) -> Matrix:
    """[outputs, inputs] as [inputs, outputs], outputs (and inputs, after a layer) padded."""
    outputs, inputs = weight.shape
    matrix = zeros((padded(inputs) if pad_inputs else inputs, padded(outputs)), np.float32)
    matrix[:inputs, :outputs] = weight.T
    return matrix


def as_rows(weight: NDArray[np.float32]) -> Matrix:
    """[outputs, inputs] as it is, inputs padded: for products of few rows with one of them."""
    outputs, inputs = weight.shape
    rows = zeros((outputs, padded(inputs)), np.float32)
    rows[:, :inputs] = weight
    return rows


def as_vector(weight: NDArray[np.float32]) -> Vector:
    """[outputs], padded."""
    vector = zeros((padded(len(weight)),), np.float32)
    vector[: len(weight)] = weight
    return vector
