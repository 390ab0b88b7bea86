"""Modules of the user's own: how one is found, trained, and turned into a graph for servers.

    package.file:Class ──► module ──training──► weights ───────────► dense file of every version
                              └──export, once──► ONNX, weights are its inputs ──► every base

The module is called in one way, in training as in serving:

    forward(user[B, d], items[B, N, d], history[B, L, d], is_history[B, L], context[B, E])
        -> logits[B, N]

Training has a batch of B events with one item each, a server one user with N candidates. A history
is padded at its beginning: there is_history is False and rows are zeros.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import warnings
from functools import cache
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from millstream_trainer.models.networks import Inputs, Network

if TYPE_CHECKING:
    from onnx import ModelProto

    from millstream_api.manifest import Architecture

INPUTS: Final = ("user", "items", "history", "is_history", "context")
OUTPUT: Final = "logits"
OPSET: Final = 20


class Unusable(ValueError):  # noqa: N818 - named for what is the case
    """A module is not there, or does not keep to the contract; the message says what to change."""


class Custom(Network):
    """The network of `Architecture(name="Custom")`."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        """Draw the weights from `seed` alone, whatever else has been drawn before."""
        super().__init__()
        assert architecture.module is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.custom = _module(
                architecture.module,
                architecture.embedding_dim,
                architecture.history_length,
                architecture.context.width,
            )

    def forward(self, inputs: Inputs) -> Tensor:
        """Logits, float32[B, 1]."""
        is_history, user = inputs.is_history, inputs.user()
        history = inputs.history() * is_history.unsqueeze(-1)
        context = torch.cat([user[:, :0], *inputs.context()], dim=1)
        items = inputs.item().unsqueeze(1)
        logits: Tensor = self.custom(user, items, history, is_history, context)
        return logits


def _module(path: str, width: int, length: int, context: int) -> nn.Module:
    """A module of this class, in the mode in which it is served: no dropout, fixed statistics.

    Raises:
        Unusable: there is no such class, or it cannot be made.
    """
    file, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(file), name)
    except (ImportError, AttributeError) as error:
        raise Unusable(
            f"spec.model.custom.module {path} is not in this image ({error}): name a trainer image "
            "that has it in spec.image"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise Unusable(f"{path} is no torch.nn.Module: name a class that is one")
    try:
        module = found(embedding_dim=width, history_length=length, context_width=context)
    except Exception as error:
        raise Unusable(
            f"{path}(embedding_dim={width}, history_length={length}, context_width={context}) "
            f"raises {type(error).__name__}: {error}"
        ) from error
    assert isinstance(module, nn.Module)
    return module.eval()


@cache
def export(path: str, width: int, length: int, context: int) -> bytes:
    """The graph of a module, ONNX; the same bytes for the same code and the same torch.

    Its inputs are those of the contract with B = 1 and N open, and the module's weights by their
    names in a dense file. Takes seconds and no GPU.

    Raises:
        Unusable: the module is not there, or does not keep to the contract.
    """
    module = nn.Module()
    module.custom = _module(path, width, length, context)
    module.forward = module.custom.forward
    is_history = torch.ones(1, length, dtype=torch.bool)
    is_history[0, 0] = False
    given = (
        torch.randn(1, width),
        torch.randn(1, 3, width),
        torch.randn(1, length, width) * is_history.unsqueeze(-1),
        is_history,
        torch.randn(1, context),
    )
    with torch.no_grad():
        try:
            logits = module(*given)
        except Exception as error:
            raise Unusable(f"{path} raises {type(error).__name__}: {error}") from error
    if not isinstance(logits, Tensor) or (logits.shape, logits.dtype) != ((1, 3), torch.float32):
        described = f"{logits.dtype}{list(logits.shape)}" if isinstance(logits, Tensor) else logits
        raise Unusable(f"{path} must return float32[B, N]; of 1 user and 3 items it is {described}")
    learned = {name for name, value in module.state_dict().items() if value.dtype == torch.float32}
    return _bare(_exported(path, module, given), learned)


def _exported(path: str, module: nn.Module, given: tuple[Tensor, ...]) -> ModelProto:
    # It says of each library that is not installed that it is not.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                module,
                given,
                dynamo=True,
                optimize=False,  # it would merge weights into constants: servers optimise
                verbose=False,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=({}, {1: torch.export.Dim("candidates")}, {}, {}, {}),
            )
        except Exception as error:
            raise Unusable(
                f"{path} cannot be exported to ONNX: {type(error).__name__}: {error}"
            ) from error
    assert program is not None
    return program.model_proto


def _bare(model: ModelProto, learned: set[str]) -> bytes:
    """A graph without weights, and without what tells where and by whom it was made.

    Args:
        model: as exported.
        learned: names of weights, which become inputs; other values stay in the graph.
    """
    from onnx.helper import make_tensor_value_info  # noqa: PLC0415 - half a second, for few

    graph = model.graph
    weights = [each for each in graph.initializer if each.name in learned]
    for each in weights:
        graph.input.append(make_tensor_value_info(each.name, each.data_type, list(each.dims)))
        graph.initializer.remove(each)
    del graph.value_info[:], graph.metadata_props[:], model.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    model.producer_name = model.producer_version = model.doc_string = graph.doc_string = ""
    return bytes(model.SerializeToString(deterministic=True))
