"""Small graphs for architecture Custom, and architectures that name them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.builders.serving import make_architecture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto, NodeProto

    from millstream_api.manifest import Architecture

AXES = {"first": [1], "second": [2]}


def node(kind: str, given: Sequence[str], out: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, given, [out], **attributes)


def make_model(
    *more: NodeProto, width: int = 8, length: int = 5, context: int = 0, logits: str = "sum"
) -> ModelProto:
    """logits = items · ((user + sum of history) * custom.w) + sum of context.

    Args:
        more: operators beside; they see every name.
        width: of rows.
        length: of histories.
        context: its width.
        logits: the name of what comes out.
    """
    nodes = [
        node("ReduceSum", ["history", "first"], "seen", keepdims=0),
        node("Add", ["user", "seen"], "both"),
        node("Mul", ["both", "custom.w"], "weighed"),
        node("Unsqueeze", ["weighed", "first"], "vector"),
        node("Mul", ["items", "vector"], "products"),
        node("ReduceSum", ["products", "second"], "dots", keepdims=0),
        node("ReduceSum", ["context", "first"], "shift", keepdims=1),
        node("Add", ["dots", "shift"], "sum"),
        *more,
        node("Identity", [logits], "logits"),
    ]
    shapes: dict[str, tuple[int, list[int | str]]] = {
        "user": (TensorProto.FLOAT, [1, width]),
        "items": (TensorProto.FLOAT, [1, "N", width]),
        "history": (TensorProto.FLOAT, [1, length, width]),
        "is_history": (TensorProto.BOOL, [1, length]),
        "context": (TensorProto.FLOAT, [1, context]),
        "custom.w": (TensorProto.FLOAT, [width]),
    }
    graph = helper.make_graph(
        nodes,
        "ranker",
        [helper.make_tensor_value_info(name, *shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(axes), name) for name, axes in AXES.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def make_graph(*more: NodeProto, **options: Any) -> bytes:
    return make_model(*more, **options).SerializeToString()


def computed_by(graph: bytes, **changes: Any) -> Architecture:
    """An architecture that this graph computes."""
    digest = hashlib.sha256(graph).hexdigest()
    return make_architecture(name="Custom", attention=(), head=(), graph=digest, **changes)
