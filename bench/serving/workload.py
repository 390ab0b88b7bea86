"""The model that all servers hold and the requests that all of them get.

A DIN of the size that `Sizes` says, with random weights: what is measured is arithmetic and what
lies around it, not how good a ranking is. Peers load the tables from files, a version is
published from the same draws, so both sides hold the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import orjson

from millstream_api.names import HEADER_BUDGET

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

EXPONENT: Final = 1.05  # of the Zipf law that ids follow
SCALE: Final = 0.1  # spread of rows and weights
LARGEST: Final = 10  # ids in an answer
# Where it is measured how much is answered, or how late, nothing may be refused for being late.
PATIENT: Final = {HEADER_BUDGET: "10000"}


@dataclass(frozen=True)
class Sizes:
    """Of the model and of one request."""

    users: int = 1_000_000
    items: int = 1_000_000
    width: int = 64
    attention: tuple[int, int] = (64, 32)  # hidden layers
    head: tuple[int, int] = (128, 64)
    history: int = 50
    candidates: int = 100
    visitors: int = 0  # users whose clicks the version knows, so that it can recommend to them


@dataclass(frozen=True)
class Request:
    """One user's question."""

    user: int
    items: list[int]
    history: list[int]

    def body(self) -> bytes:
        """As JSON, for all servers alike."""
        return orjson.dumps(
            {"user_id": self.user, "items": self.items, "history": self.history, "k": LARGEST}
        )


def dense_weights(sizes: Sizes) -> dict[str, NDArray[np.float32]]:
    """The weights of both networks, [outputs, inputs] as torch has them."""
    draw = np.random.default_rng(1)
    layers = {
        "attention": (4 * sizes.width, *sizes.attention, 1),
        "head": (3 * sizes.width, *sizes.head, 1),
    }
    found: dict[str, NDArray[np.float32]] = {}
    for part, widths in layers.items():
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            shape = (outputs, inputs)
            found[f"{part}.{number}.weight"] = SCALE * draw.standard_normal(shape, np.float32)
            found[f"{part}.{number}.bias"] = SCALE * draw.standard_normal(outputs, np.float32)
    return found


def table_rows(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    """The embeddings of ids 0 … rows - 1, float32[rows, width]."""
    return SCALE * np.random.default_rng(seed).standard_normal((rows, width), np.float32)


def write_model(folder: Path, sizes: Sizes) -> None:
    """`user.npy`, `item.npy` and `dense.npz`, for servers that know nothing of versions."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "user.npy", table_rows(sizes.users, sizes.width, 2))
    np.save(folder / "item.npy", table_rows(sizes.items, sizes.width, 3))
    np.savez(folder / "dense.npz", **dense_weights(sizes))  # type: ignore[arg-type]


def draw_requests(sizes: Sizes, count: int) -> list[Request]:
    """Requests whose ids follow a bounded Zipf law; popular ids lie anywhere in the tables."""
    draw = np.random.default_rng(4)
    users, items = Zipf(sizes.users, draw), Zipf(sizes.items, draw)
    return [
        Request(
            user=users.ids(1)[0],
            items=items.distinct(sizes.candidates),
            history=items.ids(sizes.history),
        )
        for _ in range(count)
    ]


class Zipf:
    """Ids by a bounded Zipf law of EXPONENT, in an order of their own."""

    def __init__(self, count: int, draw: np.random.Generator) -> None:
        """Of the ids 0 … count - 1."""
        self._draw = draw
        self._shares = np.cumsum(np.arange(1.0, count + 1) ** -EXPONENT)
        self._order = draw.permutation(count)

    def ids(self, count: int) -> list[int]:
        """So many, popular ones again and again."""
        drawn = self._draw.random(count) * self._shares[-1]
        places = np.minimum(np.searchsorted(self._shares, drawn), len(self._order) - 1)
        found: list[int] = self._order[places].tolist()
        return found

    def distinct(self, count: int) -> list[int]:
        """So many that differ."""
        found: dict[int, None] = {}
        while len(found) < count:
            found |= dict.fromkeys(self.ids(count))
        return list(found)[:count]
