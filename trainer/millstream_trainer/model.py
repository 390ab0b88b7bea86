"""The live state of a model: everything that a version holds, in the form training changes.

One thread owns it. A version is a copy of it at a step barrier (`publishing.snapshots`), and
`restoring` makes it anew from one; nothing else is carried from one process to the next. After
the weights are drawn training uses no random numbers, so there is no generator to save.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from millstream_api.tables import AdmissionSpec, EvictionSpec, TablesSpec, bytes_of
from millstream_core.erasure.entries import NOBODY
from millstream_core.evaluation import GoldenEvents
from millstream_core.features import PAD
from millstream_core.tables.lifecycle import Lifecycle
from millstream_core.tables.overflow import Overflow
from millstream_core.tables.training import TrainingTable
from millstream_trainer.candidates import Candidates
from millstream_trainer.design import CONTEXT
from millstream_trainer.models.architectures import network_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from millstream_api.tables import MemorySpec
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.tables.admission import Memory
    from millstream_core.tables.index import Keys
    from millstream_core.tables.snapshots import ColumnSpec
    from millstream_trainer.design import Design
    from millstream_trainer.models.networks import Network

log = logging.getLogger(__name__)

_NO_RULES: Final = TablesSpec()


@dataclass
class LiveModel:
    """Tables, network, optimizer, candidates and where in the stream they stand."""

    design: Design
    tables: dict[str, TrainingTable]
    network: Network
    optimizer: torch.optim.Adam
    candidates: Candidates
    lives: dict[str, Lifecycle]  # of the tables
    step: int = 0
    clock: float = 0.0  # event time, Unix seconds; never goes back
    events: int = 0  # learned since the beginning of the lineage
    ledger: Ledger = NOBODY  # of erased keys: none of them is in here
    golden: GoldenEvents = field(default_factory=GoldenEvents)  # the last events learned
    positions: dict[str, int] = field(default_factory=dict)  # next record, by partition

    @classmethod
    def fresh(
        cls,
        design: Design,
        dense_learning_rate: float,
        device: torch.device,
        rules: TablesSpec = _NO_RULES,
        overflow_folder: Path | None = None,
    ) -> LiveModel:
        """A model that has learned nothing; equal designs begin with equal bits.

        Args:
            design: of the model.
            dense_learning_rate: of Adam.
            device: of the dense part.
            rules: of the tables.
            overflow_folder: for rows beyond a memory budget, where there is one.

        Raises:
            ValueError: a memory budget cannot be kept.
        """
        network = network_of(design.architecture, design.seed).to(device)
        user, item, history = rules.user, rules.item, rules.history
        memories = {"user": user.memory, "item": item.memory, "history": history.memory}
        tables = {
            name: _table(name, columns, design.seed, memories.get(name), overflow_folder)
            for name, columns in design.tables().items()
        }
        ways = {
            "user": (user.admission, user.eviction),
            "item": (item.admission, item.eviction),
            "history": (AdmissionSpec(), history.eviction),
            CONTEXT: (AdmissionSpec(), EvictionSpec()),
        }
        return cls(
            design,
            tables,
            network,
            torch.optim.Adam(network.parameters(), lr=dense_learning_rate, fused=True),
            Candidates(),
            {name: Lifecycle(table, *ways[name]) for name, table in tables.items()},
        )

    def admission_memory(self) -> dict[str, Memory]:
        """What is remembered of keys without a row, by its name in a version."""
        return {
            f"{table}.{name}": memory
            for table, life in self.lives.items()
            for name, memory in life.admission.memory.items()
        }

    def forget(self, ledger: Ledger, *, after: int) -> None:
        """Drop every key that an entry of a higher number than `after` erased.

        Rows go without a tombstone (`TrainingTable.erase`); histories that mention an item are
        written anew. To be asked only while no version is on its way.
        """
        transform = self.design.transform

        def erased(table: str) -> Callable[[Keys], NDArray[np.bool_]]:
            subject = transform.subject_of(table)
            return lambda keys: ledger.erased(subject, keys, after=after)

        rows = sum(life.erase(erased(table)) for table, life in self.lives.items())
        histories = self.tables[transform.history_table]
        slots = histories.all_slots()
        items = np.take(histories.values("items"), slots, axis=0)
        mentions = erased(transform.item_table)(items.ravel()).reshape(items.shape)
        is_mentioning = mentions.any(axis=1)
        histories.values("items")[slots[is_mentioning]] = np.where(mentions, PAD, items)[
            is_mentioning
        ]
        histories.touch(slots[is_mentioning])
        self.candidates.forget(erased(transform.item_table))
        self.golden = self.golden.without(partial(ledger.erased, after=after))
        self.ledger = ledger
        if rows or is_mentioning.any():
            log.info(
                "forgot %d rows and %d mentions in histories, as of erasure %d",
                rows,
                int(np.count_nonzero(mentions)),
                ledger.seq,
            )

    def serve_tensors(self) -> dict[str, NDArray[Any]]:
        """The dense file that servers read, copied."""
        candidates = {
            "candidates.popular": self.candidates.popular(),
            "candidates.new": self.candidates.newest(),
        }
        return self.network.tensors() | candidates | self.golden.tensors()

    def train_tensors(self) -> dict[str, NDArray[Any]]:
        """The dense file that only a restart reads, copied."""
        tensors = self.candidates.state() | {
            "events": np.array([self.events]),
            "clock": np.array([self.clock]),
        }
        for name, parameter in self.network.named_parameters():
            for slot, value in self.optimizer.state[parameter].items():
                tensors[f"adam.{name}.{slot}"] = np.array(value.cpu().numpy())
        return tensors

    def restore_dense(
        self, serve: Mapping[str, NDArray[Any]], train: Mapping[str, NDArray[Any]]
    ) -> None:
        """Take over both dense files of a version.

        Raises:
            KeyError, RuntimeError, ValueError: they are of another design.
        """
        self.network.load(serve)
        self.golden = GoldenEvents.of(serve)
        self.candidates.restore(train)
        self.events = int(train["events"][0])
        self.clock = float(train["clock"][0])
        for life in self.lives.values():
            life.admission.resume(self.clock)
        for name, parameter in self.network.named_parameters():
            prefix = f"adam.{name}."
            slots = {
                key.removeprefix(prefix): torch.from_numpy(np.array(value)).to(parameter.device)
                for key, value in train.items()
                if key.startswith(prefix)
            }
            if slots:  # a version of before the first step has none
                self.optimizer.state[parameter] = slots


def _table(
    name: str,
    columns: Mapping[str, ColumnSpec],
    seed: int,
    memory: MemorySpec | None,
    folder: Path | None,
) -> TrainingTable:
    if memory is None or folder is None:
        return TrainingTable(columns, seed=seed)
    overflow = Overflow(folder, bytes_of(memory.budget), bytes_of(memory.overflow))
    try:
        return TrainingTable(columns, seed=seed, overflow=overflow)
    except ValueError as error:
        raise ValueError(f"table {name}: {error}") from error
