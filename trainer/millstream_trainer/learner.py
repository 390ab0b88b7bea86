"""One step: score a batch as a server would, then learn from it.

    keys ──distinct──► rows ──network──► logits ──► loss ──► gradients ──► rows, dense weights
                                           └──► progressive validation

Scoring reads what a server of this very state would read: unknown keys as their table's default
row, histories as of before each event. So the forward pass that learning needs anyway is the
honest validation too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from millstream_api.manifest import CLICK
from millstream_core.features import PAD
from millstream_core.tables.multihash import row_keys
from millstream_core.tables.usage import Moment, Uses
from millstream_trainer.design import CONTEXT
from millstream_trainer.models.histories import read_and_extend
from millstream_trainer.models.networks import Inputs
from millstream_trainer.models.reading import read_rows
from millstream_trainer.models.rowwise_adagrad import update_rows
from millstream_trainer.models.tasks import loss, served

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.slots import Distinct, Slots
    from millstream_core.tables.training import TrainingTable
    from millstream_trainer.model import LiveModel
    from millstream_trainer.sources.decoding import EventBatch


_SHARED: Final = np.array([PAD], np.int64)


class Diverged(Exception):  # noqa: N818
    """The model's scores are not finite any more; nothing it knows may be published."""


class Scores(NamedTuple):
    """Logits of a batch as of before it was learned, float32[n] each."""

    served: NDArray[np.float32]  # as a server would have ranked
    click: NDArray[np.float32]  # the same for models of clicks alone


@dataclass(frozen=True)
class _Gathered:
    """Distinct rows of one table for one batch, as a leaf of the graph."""

    distinct: Distinct  # keys of rows, and where they are
    leaf: torch.Tensor  # float32[n, d], one for each key; the default row where the table has none
    parts: NDArray[np.int64] | None  # [m, tables] into keys: whose sum an id is; None: its row
    ids: NDArray[np.int64]  # [m] distinct, as they are in events; without parts they are the keys
    index: NDArray[np.int64]  # of every use, into ids

    def summed(self) -> torch.Tensor:
        """What the network sees of each id, float32[m, d]: added up as servers do."""
        if self.parts is None:
            return self.leaf
        first, *others = (
            torch.from_numpy(part).to(self.leaf.device)
            for part in np.ascontiguousarray(self.parts.T)
        )
        total = functional.embedding(first, self.leaf)
        for other in others:
            total = total + functional.embedding(other, self.leaf)
        return total

    def uses(self, times: NDArray[np.float64]) -> Uses:
        """Every use of a row; `times` are float64, one for each use of an id."""
        if self.parts is None:
            return Uses.of(self.distinct, times)
        rows = self.parts[self.index]
        return Uses.of(self.distinct, np.repeat(times, rows.shape[1]), rows.ravel())

    def ids_of(self, are_keys: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The ids of which a row is among these; bool[n]."""
        return self.ids[are_keys if self.parts is None else are_keys[self.parts].any(axis=1)]


class Learner:
    """Takes steps on one live model."""

    def __init__(self, model: LiveModel, *, sparse_learning_rate: float) -> None:
        self._model = model
        self._rate = np.float32(sparse_learning_rate)
        self._device = next(model.network.parameters()).device
        self._defaults = model.design.defaults()
        self._multi_hashes = model.design.multi_hashes()

    def learn(self, batch: EventBatch) -> Scores:
        """Score a batch, then learn from it.

        Args:
            batch: at least one event; with conversions where the model learns them.

        Raises:
            Diverged: a logit is not finite; the model is as it was but for the histories.
        """
        batch = self._without_erased(batch)
        moment = self._moment(batch)
        histories = self._histories(batch, moment)
        users = self._gather("user", batch.user)
        items = self._gather("item", np.concatenate([batch.item, histories.ravel()]))
        contexts = self._contexts(batch)
        logits = self._model.network(self._inputs(batch, histories, users, items, contexts))
        found = logits.detach()
        scores = torch.stack([served(found), *found.unbind(dim=1)]).cpu().numpy()
        # Of each task as well: what is served of them may be finite where they are not.
        if not np.isfinite(scores).all():
            raise Diverged(
                f"scores are not finite at step {self._model.step}: lower "
                "optimizer.sparseLearningRate or optimizer.denseLearningRate"
            )
        torch.autograd.backward(self._loss(logits, batch))
        self._model.optimizer.step()
        self._model.optimizer.zero_grad(set_to_none=True)
        self._update("user", users, batch.time, moment)
        # Items are used by their own events and by those that see them in a history.
        times = np.concatenate([batch.time, np.repeat(batch.time, histories.shape[1])])
        new_items = self._update("item", items, times, moment)
        if contexts is not None:
            reads = len(contexts.index) // len(batch)
            self._update(CONTEXT, contexts, np.repeat(batch.time, reads), moment)
        self._model.candidates.observe(batch, new_items)
        self._model.golden = self._model.golden.followed_by(batch.user, batch.item, batch.label > 0)
        self._model.step = moment.step
        self._model.clock = moment.now
        self._model.events += len(batch)
        for life in self._model.lives.values():
            life.sweep(moment)
        return Scores(served=scores[0], click=scores[1])

    def _loss(self, logits: torch.Tensor, batch: EventBatch) -> torch.Tensor:
        clicks = torch.from_numpy(batch.label).to(self._device)
        if self._model.design.architecture.tasks == CLICK:
            return loss(logits, clicks, None)
        assert batch.conversion is not None
        return loss(logits, clicks, torch.from_numpy(batch.conversion).to(self._device))

    def _without_erased(self, batch: EventBatch) -> EventBatch:
        """Events with PAD where a key must not be learned: the other side still learns of them."""
        ledger = self._model.ledger
        if not ledger:
            return batch
        return replace(
            batch,
            user=np.where(ledger.blocked("user", batch.user), np.int64(PAD), batch.user),
            item=np.where(ledger.blocked("item", batch.item), np.int64(PAD), batch.item),
        )

    def _moment(self, batch: EventBatch) -> Moment:
        # The median: one event with a wrong date must not make every row look old.
        now = max(self._model.clock, float(np.median(batch.time)))
        return Moment(self._model.step + 1, now)

    def _histories(self, batch: EventBatch, moment: Moment) -> NDArray[np.int64]:
        """What each event sees, int64[B, L]; the clicks of the batch are appended."""
        table, life = self._model.tables["history"], self._model.lives["history"]
        labels = np.where(batch.item == PAD, np.float32(0), batch.label)
        is_click = (labels > 0) & (batch.user != PAD)
        clickers = table.distinct(batch.user[is_click])
        uses = Uses.of(clickers, batch.time[is_click])
        life.trained(life.admit(uses, moment), uses, moment)
        values = table.values("items")
        seen = np.empty((len(batch), values.shape[1]), np.int64)
        read_and_extend(values, table.slots(batch.user), batch.item, labels, seen)
        return seen

    def _gather(self, table: str, keys: NDArray[np.int64]) -> _Gathered:
        by = self._multi_hashes.get(table)
        if by is None:
            distinct = self._model.tables[table].distinct(keys)
            leaf = self._leaf(table, distinct)
            return _Gathered(distinct, leaf, None, distinct.keys, distinct.index)
        ids, index = np.unique(keys, return_inverse=True)
        distinct = self._model.tables[table].distinct(row_keys(ids, by).ravel())
        parts = distinct.index.reshape(len(ids), by.tables)
        return _Gathered(distinct, self._leaf(table, distinct), parts, ids, index)

    def _leaf(self, table: str, distinct: Distinct) -> torch.Tensor:
        # Allocated by torch, whose alignment makes the same sums on every run.
        live = self._model.tables[table]
        leaf = torch.empty((len(distinct.keys), live.columns["rows"].width))
        read_rows(live, self._defaults[table], distinct.keys, distinct.slots, leaf.numpy())
        return leaf.to(self._device).requires_grad_()

    def _contexts(self, batch: EventBatch) -> _Gathered | None:
        """The rows that the batch reads of contexts; None for models that read none."""
        if CONTEXT not in self._model.tables:
            return None
        assert batch.context is not None
        return self._gather(CONTEXT, batch.context.keys.ravel())

    def _inputs(
        self,
        batch: EventBatch,
        histories: NDArray[np.int64],
        users: _Gathered,
        items: _Gathered,
        contexts: _Gathered | None,
    ) -> Inputs:
        def tensor(array: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(array).to(self._device)

        shape = (len(batch), -1)
        return Inputs(
            users=users.summed(),
            items=items.summed(),
            user_index=tensor(users.index),
            item_index=tensor(items.index[: len(batch)]),
            history_index=tensor(items.index[len(batch) :].reshape(histories.shape)),
            is_history=tensor(histories != PAD),
            context_rows=None if contexts is None else contexts.leaf,
            context_index=None if contexts is None else tensor(contexts.index.reshape(shape)),
            context_floats=None if batch.context is None else tensor(batch.context.floats),
        )

    def _update(
        self, name: str, gathered: _Gathered, times: NDArray[np.float64], moment: Moment
    ) -> NDArray[np.int64]:
        """Row-wise Adagrad on the rows of a table; returns the ids that have one only now.

        Args:
            name: of the table.
            gathered: its rows, with gradients.
            times: float64[m], the event time of every use.
            moment: of the step.
        """
        table, life = self._model.tables[name], self._model.lives[name]
        keys = gathered.distinct.keys
        real = np.flatnonzero(keys != PAD)
        uses = gathered.uses(times).at(real)
        assert gathered.leaf.grad is not None
        gradients = np.take(gathered.leaf.grad.cpu().numpy(), real, axis=0)
        is_unknown = uses.slots < 0
        slots = life.admit(uses, moment)
        self._descend(table, slots, gradients)
        life.trained(slots, uses, moment)
        if self._defaults[name].policy == "SharedOov" and is_unknown.any():
            # Every unknown key has read the shared row, so their gradients add up to its own.
            shared = table.admit(_SHARED)
            self._descend(table, shared, gradients[is_unknown].sum(axis=0, keepdims=True))
            table.touch(shared)
        are_new = np.zeros(len(keys), np.bool_)
        are_new[real] = is_unknown & (slots >= 0)
        return gathered.ids_of(are_new)

    def _descend(self, table: TrainingTable, slots: Slots, gradients: NDArray[np.float32]) -> None:
        update_rows(table.values("rows"), table.values("accumulator"), slots, gradients, self._rate)
