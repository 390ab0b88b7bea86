"""Sessions of ONNX Runtime: a graph whose weights are constants, computed by whoever asks.

onnx and onnxruntime are imported where the first graph comes by: most servers never see one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from millstream_serving.engine.layouts import refuse_misshapen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from onnx import ModelProto
    from onnxruntime import InferenceSession

# What a graph is given of a request; its other inputs are weights, by their names in a dense file.
INPUTS: Final = ("user", "items", "history", "is_history", "context")
OUTPUT: Final = "logits"


def weights_of(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The weights that a graph reads, and their shapes."""
    return {
        each.name: tuple(size.dim_value for size in each.type.tensor_type.shape.dim)
        for each in model.graph.input
        if each.name not in INPUTS
    }


def session_of(graph: bytes, dense: Mapping[str, NDArray[Any]]) -> InferenceSession:
    """A session in which the weights are constants, so that it can lay them out for itself.

    Args:
        graph: ONNX, tried out (`trials`).
        dense: weights by name.

    Raises:
        MisshapenWeights: a weight is missing, or of another shape or type.
    """
    import onnx  # noqa: PLC0415 - see the module's docstring
    import onnxruntime  # noqa: PLC0415

    model = onnx.load_model_from_string(graph)
    weights = weights_of(model)
    refuse_misshapen(weights, dense)
    given = [each for each in model.graph.input if each.name in INPUTS]
    del model.graph.input[:]
    model.graph.input.extend(given)
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.ascontiguousarray(dense[name]), name) for name in weights
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4  # what it would write to stderr it raises anyway
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
