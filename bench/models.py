"""The model time of a request, by architecture: the engine against eager torch, on one core.

Same weights, same rows, same requests. Both sides begin with ids and end with logits; torch takes
its rows by index from one tensor, the engine looks keys up and reads rows where they are stored.
Seconds are those of the processor: both sides compute in the thread that asks.
"""

from __future__ import annotations

import hashlib
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from bench import plain
from bench.measuring import in_turns, times_faster
from demo.report import Row, at_most
from millstream_api.manifest import (
    CLICK,
    CLICK_AND_CONVERSION,
    Architecture,
    Column,
    DefaultRow,
)
from millstream_core.tables.versioned import VersionedTable
from millstream_serving.engine.architectures import network_of
from millstream_serving.engine.requests import Lookup, Request
from millstream_serving.engine.rows import rows_of
from millstream_serving.engine.versions import ScratchPad
from millstream_trainer.models.custom import export

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from millstream_api.manifest import ArchitectureName, Tasks
    from millstream_serving.engine.architectures import Network

WIDTH: Final = 64
LENGTH: Final = 50
CANDIDATES: Final = 100
ROWS: Final = 100_000
REQUESTS: Final = 20  # in one turn
TURNS: Final = 9
BAR: Final = 3.0  # of DIN, which most of the work goes to


def model_rows() -> list[Row]:
    """Each architecture, and DIN once more with two tasks and as a module of somebody's own."""
    torch.set_num_threads(1)
    draw = np.random.default_rng(1)
    values = 0.1 * draw.standard_normal((ROWS, WIDTH), np.float32)
    asked = [draw.integers(0, ROWS, (3, CANDIDATES)) for _ in range(REQUESTS)]
    rows = []
    for name in ("DIN", "MLP", "DotProduct"):
        torch.manual_seed(2)
        module = getattr(plain, name)(embedding_dim=WIDTH, history_length=LENGTH, context_width=0)
        rows += _compared(name, module, _native(name, module), values, asked)
    torch.manual_seed(2)
    both = plain.ClicksAndConversions(embedding_dim=WIDTH, history_length=LENGTH, context_width=0)
    native = _native("DIN", both, CLICK_AND_CONVERSION)
    rows += _compared("DIN with conversions", both, native, values, asked)
    torch.manual_seed(2)
    module = plain.DIN(embedding_dim=WIDTH, history_length=LENGTH, context_width=0)
    rows += _compared("DIN as Custom", module, _custom(module), values, asked)
    return rows


def _native(name: ArchitectureName, module: torch.nn.Module, tasks: Tasks = CLICK) -> Network:
    architecture = Architecture(
        name=name,
        embedding_dim=WIDTH,
        attention=(64, 32) if name == "DIN" else (),
        head=(128, 64),
        history_length=LENGTH,
        tasks=tasks,
    )
    return network_of(architecture, _halved(_weights(module)))


def _custom(module: torch.nn.Module) -> Network:
    graph = export(f"{plain.__name__}:DIN", WIDTH, LENGTH, 0)
    architecture = Architecture(
        name="Custom",
        embedding_dim=WIDTH,
        attention=(),
        head=(),
        history_length=LENGTH,
        graph=hashlib.sha256(graph).hexdigest(),
    )
    dense = {f"custom.{name}": array for name, array in _weights(module).items()}
    return network_of(architecture, dense, graph)


def _weights(module: torch.nn.Module) -> dict[str, NDArray[Any]]:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def _halved(dense: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Numbers of layers without those of the activations between them."""
    found = {}
    for name, array in dense.items():
        part, *rest = name.split(".")
        found[".".join([part, str(int(rest[0]) // 2), rest[1]]) if rest else part] = array
    return found


def _compared(
    what: str,
    module: torch.nn.Module,
    network: Network,
    values: NDArray[np.float32],
    asked: list[NDArray[np.int64]],
) -> list[Row]:
    ours, theirs = _engine(network, values), _eager(module, values)
    apart = max(float(np.abs(ours(*each) - theirs(*each)).max()) for each in asked)

    def turn(score: Callable[..., NDArray[np.float32]]) -> Callable[[], float]:
        def spent() -> float:
            began = time.thread_time()
            for each in asked:
                score(*each)
            return (time.thread_time() - began) / len(asked)

        return spent

    turns = in_turns(turn(ours), turn(theirs), runs=TURNS)
    spent = median(turns.ours) * 1e3
    title = f"{what}, {CANDIDATES} candidates × {LENGTH} history"
    if what == "DIN":
        row = times_faster(title, turns, BAR, "eager torch", spent, "ms")
    else:
        ratio = median(turns.ratios)
        said = f"none; {ratio:.2g} × eager torch"
        row = Row(
            what=title,
            value=spent,
            unit="ms",
            bar=said,
            against="eager torch",
            ratio=ratio,
            runs=TURNS,
        )
    return [row, at_most(f"{what}: largest difference of a logit", apart, 1e-5, "")]


def _engine(network: Network, values: NDArray[np.float32]) -> Callable[..., NDArray[np.float32]]:
    column = Column(dtype="float32", width=WIDTH, group="serve")
    table = VersionedTable({"rows": column}, 1 << 18)
    keys, none = np.arange(len(values)), np.empty(0, np.int64)
    version = table.load(None, keys, {"rows": values}, none, whole=True)
    stored, pad = rows_of(version, DefaultRow()), ScratchPad()
    context = np.empty((1, 0), np.float32)

    def lookup(keys: NDArray[np.int64]) -> Lookup:
        return Lookup(stored, keys, version.slots(keys))

    def score(
        users: NDArray[np.int64], items: NDArray[np.int64], history: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        logits = np.empty(len(items), np.float32)
        request = Request(lookup(users[:1]), lookup(items), lookup(history[:LENGTH]), context)
        network.score(request, pad, logits)
        return logits

    return score


def _eager(
    module: torch.nn.Module, values: NDArray[np.float32]
) -> Callable[..., NDArray[np.float32]]:
    rows, context = torch.from_numpy(values), torch.empty(1, 0)
    is_history = torch.ones(1, LENGTH, dtype=torch.bool)

    @torch.inference_mode()
    def score(
        users: NDArray[np.int64], items: NDArray[np.int64], history: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        user, each, seen = (
            rows[torch.from_numpy(keys)] for keys in (users[:1], items, history[:LENGTH])
        )
        logits = module(user, each.unsqueeze(0), seen.unsqueeze(0), is_history, context)
        found: NDArray[np.float32] = logits[0].numpy()
        return found

    return score
