"""A stream whose state is known after any number of events, and a model that learns it.

What a version must hold follows from its position in the stream alone, whatever crashed, was
rewound or was learned twice on the way to it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from millstream_core.tables.encoding import encode
from tests.builders.tables import by_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from millstream_core.tables.training import ColumnSpec, Rows
    from millstream_core.tables.versioned import TableVersion
    from millstream_trainer.design import Design
    from millstream_trainer.model import LiveModel

KEYS = 8  # of each table: few, so that they are written, leave and come back
PARTITION = "0"
MARK = "head.2.bias"  # the weight that says how many events were learned

USERS = ("user", "history")  # tables whose keys are users

State = dict[str, dict[int, float]]  # table -> key -> the value that its row is filled with


class KnownStream:
    """Events by number; each writes a row of some table, or evicts it."""

    def __init__(self, design: Design, seed: int) -> None:
        self._specs = design.tables()
        self._seed = seed
        self._states: list[State] = [{name: {} for name in self._specs}]

    def event(self, number: int) -> tuple[str, int, bool]:
        """(table, key, whether its row leaves)."""
        rng = random.Random(f"{self._seed}/{number}")
        return rng.choice(list(self._specs)), rng.randrange(KEYS), rng.random() < 0.3

    def state(self, position: int) -> State:
        """What so many events come to."""
        while len(self._states) <= position:
            number, before = len(self._states) - 1, self._states[-1]
            table, key, leaves = self.event(number)
            rows = dict(before[table])
            if leaves:
                rows.pop(key, None)
            else:
                # A sum, so that an event that counts twice is seen.
                rows[key] = rows.get(key, 0.0) + number + 1
            self._states.append(before | {table: rows})
        return self._states[position]

    def state_without(self, position: int, users: Collection[int]) -> State:
        """What so many events come to where these users were erased."""
        return {
            name: {key: row for key, row in rows.items() if name not in USERS or key not in users}
            for name, rows in self.state(position).items()
        }

    def learn(self, model: LiveModel, count: int) -> None:
        """Have a model learn the next events."""
        first = model.positions.get(PARTITION, 0)
        for number in range(first, first + count):
            self._learn(model, number)
        model.events += count
        model.step += 1
        model.positions = {PARTITION: first + count}
        with torch.no_grad():
            dict(model.network.named_parameters())[MARK].fill_(float(model.events))

    def _learn(self, model: LiveModel, number: int) -> None:
        name, key, leaves = self.event(number)
        table, keys = model.tables[name], np.array([key], np.int64)
        if name in USERS and model.ledger.blocked("user", keys).any():
            return
        slots = table.slots(keys)
        is_new = slots[0] < 0
        if leaves:
            table.evict(slots[slots >= 0])
            return
        slots = table.admit(keys)
        for column in table.columns:
            values = table.values(column)
            values[slots] = number + 1 if is_new else values[slots] + number + 1
        table.touch(slots)

    def assert_live(self, model: LiveModel) -> None:
        """A model holds exactly what its position says, without the users that it knows erased."""
        users = np.arange(KEYS)[model.ledger.blocked("user", np.arange(KEYS))].tolist()
        position = model.positions.get(PARTITION, 0)
        assert model.events == position
        if position:
            assert model.serve_tensors()[MARK] == [position]
        for name, rows in self.state_without(position, users).items():
            self.assert_rows(name, rows, by_key(model.tables[name].snapshot(whole=True).rows))

    def assert_rows(self, name: str, expected: dict[int, float], found: Rows) -> None:
        """Live rows of a table, all columns; keys ascending."""
        assert found.keys.tolist() == sorted(expected), name
        for column, spec in self._specs[name].items():
            values = filled(expected, spec)
            np.testing.assert_array_equal(found.columns[column], values, f"{name}.{column}")

    def assert_served(
        self, position: int, tables: dict[str, TableVersion], users: Collection[int] = ()
    ) -> None:
        """What a server reads of each key is what was encoded at this position, to the bit.

        Where the server knows that these users were erased, they have no row.
        """
        keys = np.arange(KEYS, dtype=np.int64)
        for name, rows in self.state_without(position, users).items():
            slots = tables[name].slots(keys)
            assert keys[slots >= 0].tolist() == sorted(rows), name
            for column, spec in self._specs[name].items():
                if spec.serve is not None:
                    held = tables[name].table.values(column)[slots[slots >= 0]]
                    expected = encode(filled(rows, spec), spec.serve)
                    np.testing.assert_array_equal(held, expected, f"{name}.{column}")


def filled(rows: dict[int, float], spec: ColumnSpec) -> NDArray[Any]:
    """A column of these rows, ascending by key."""
    values = np.empty((len(rows), spec.width), spec.dtype)
    for i, key in enumerate(sorted(rows)):
        values[i] = rows[key]
    return values
