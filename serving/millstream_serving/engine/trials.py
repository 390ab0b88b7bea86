"""Whether a graph is fit to be computed in this process: found out in a process of its own.

A graph is a program. Its digest says that it is what its writer wrote, not that ONNX Runtime
survives it, so a new one is read, checked and computed once in a child process with bounded memory
and time; whatever becomes of the child, the server goes on. That takes about a second, once for
each graph, which is once a lineage.

    python -m millstream_serving.engine.trials WIDTH LENGTH CONTEXT < graph
"""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import numpy as np

from millstream_serving.engine.sessions import INPUTS, OUTPUT, session_of, weights_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from onnx import GraphProto, ModelProto, TensorProto

MOST_NODES: Final = 10_000
CANDIDATES: Final = (1, 128)  # scored in a trial
MEMORY_BYTES: Final = 1 << 30  # of a trial
SECONDS: Final = 60  # of a trial, importing ONNX Runtime included
LONGEST_REASON: Final = 500
REMEMBERED: Final = 256

_fit: set[tuple[bytes, int, int, int]] = set()


class UnfitGraph(ValueError):  # noqa: N818 - named for what is the case
    """A graph must not be computed; the message says why."""


def try_out(graph: bytes, width: int, length: int, context: int) -> None:
    """Raise UnfitGraph unless a child process has computed this graph, now or before.

    Args:
        graph: ONNX.
        width: values in a row.
        length: of histories.
        context: values of a context.
    """
    asked = (hashlib.sha256(graph).digest(), width, length, context)
    if asked in _fit:
        return
    words = [sys.executable, "-m", __name__, *map(str, asked[1:])]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            words,
            input=graph,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    except subprocess.TimeoutExpired as error:
        raise UnfitGraph(f"a trial run of its graph took longer than {SECONDS} s") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-LONGEST_REASON:]
        raise UnfitGraph(f"a trial run of its graph ended with {done.returncode}: {said}")
    if len(_fit) >= REMEMBERED:
        _fit.clear()
    _fit.add(asked)


def refuse_foreign(model: ModelProto) -> None:
    """Raise UnfitGraph where a model reads files, or has more than plain default operators."""
    domains = {each.domain for each in (*model.opset_import, *model.graph.node)}
    if model.functions or not domains <= {"", "ai.onnx"}:
        found = ", ".join(sorted(domains)) or "functions"
        raise UnfitGraph(f"only operators of the default domain are computed, not of: {found}")
    if len(model.graph.node) > MOST_NODES:
        raise UnfitGraph(f"it has {len(model.graph.node)} operators, {MOST_NODES} are the most")
    for node in model.graph.node:
        if any(each.HasField("g") or each.graphs for each in node.attribute):
            raise UnfitGraph(f"{node.op_type} has a graph of its own: no branches, no loops")
    for tensor in _tensors(model.graph):
        if tensor.data_location != tensor.DEFAULT or tensor.external_data:
            raise UnfitGraph(f"tensor {tensor.name!r} is to be read from a file")


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _compute(graph: bytes, width: int, length: int, context: int) -> None:
    """Raise UnfitGraph, or whatever else, unless it makes a finite logit of each candidate."""
    import onnx  # noqa: PLC0415 - half a second, for few

    model = onnx.load_model_from_string(graph)
    refuse_foreign(model)
    if not set(INPUTS) <= {each.name for each in model.graph.input}:
        raise UnfitGraph(f"its inputs must be {', '.join(INPUTS)} and the names of weights")
    weights = {name: np.full(shape, 0.01, np.float32) for name, shape in weights_of(model).items()}
    session = session_of(graph, weights)
    is_history = np.ones((1, length), np.bool_)
    is_history[:, : length // 2] = False
    for candidates in CANDIDATES:
        given = {
            "user": np.ones((1, width), np.float32),
            "items": np.ones((1, candidates, width), np.float32),
            "history": np.ones((1, length, width), np.float32) * is_history[:, :, None],
            "is_history": is_history,
            "context": np.zeros((1, context), np.float32),
        }
        [found] = session.run([OUTPUT], given)
        if (found.shape, found.dtype) != ((1, candidates), np.float32):
            raise UnfitGraph(
                f"of {candidates} candidates it must make float32[1, {candidates}], not "
                f"{found.dtype}{list(found.shape)}"
            )


def main(words: list[str]) -> None:
    """Compute the graph on stdin once; what it raises is what is wrong with it."""
    sys.excepthook = lambda kind, error, _: sys.stderr.write(f"{kind.__name__}: {error}\n")
    width, length, context = map(int, words)
    graph = sys.stdin.buffer.read()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    _compute(graph, width, length, context)


if __name__ == "__main__":
    main(sys.argv[1:])
