"""One step: score a batch as a server would, then learn from it.

    keys ──distinct──► rows ──network──► logits ──► loss ──► gradients ──► rows, dense weights
                                           └──► progressive validation

Scoring reads what a server of this very state would read: unknown keys as their table's default
row, histories as of before each event. So the forward pass that learning needs anyway is the
honest validation too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch.nn import functional

from millstream_core.features import PAD
from millstream_trainer.models.din import Inputs
from millstream_trainer.models.histories import read_and_extend
from millstream_trainer.models.reading import read_rows
from millstream_trainer.models.rowwise_adagrad import update_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millstream_core.tables.training import TrainingTable
    from millstream_trainer.model import LiveModel
    from millstream_trainer.sources.decoding import EventBatch


_SHARED: Final = np.array([PAD], np.int64)


class Diverged(Exception):  # noqa: N818
    """The model's scores are not finite any more; nothing it knows may be published."""


@dataclass(frozen=True)
class _Gathered:
    """Distinct rows of one table for one batch, as a leaf of the graph."""

    keys: NDArray[np.int64]  # [n] distinct, ascending
    leaf: torch.Tensor  # float32[n, d], the default row where the table has none
    index: NDArray[np.int64]  # of every use, into keys


class Learner:
    """Takes steps on one live model."""

    def __init__(self, model: LiveModel, *, sparse_learning_rate: float) -> None:
        self._model = model
        self._rate = np.float32(sparse_learning_rate)
        self._device = next(model.network.parameters()).device
        self._defaults = model.design.defaults()

    def learn(self, batch: EventBatch) -> NDArray[np.float32]:
        """Score a batch, then learn from it.

        Args:
            batch: at least one event.

        Returns:
            float32[n], the logits of before learning.

        Raises:
            Diverged: a logit is not finite; the model is as it was but for the histories.
        """
        histories = self._histories(batch)
        users = self._gather("user", batch.user)
        items = self._gather("item", np.concatenate([batch.item, histories.ravel()]))
        logits = self._model.network(self._inputs(batch, histories, users, items))
        scores: NDArray[np.float32] = logits.detach().cpu().numpy()
        if not np.isfinite(scores).all():
            raise Diverged(
                f"scores are not finite at step {self._model.step}: lower "
                "optimizer.sparseLearningRate or optimizer.denseLearningRate"
            )
        labels = torch.from_numpy(batch.label).to(self._device)
        loss = functional.binary_cross_entropy_with_logits(logits, labels)
        torch.autograd.backward(loss)
        self._model.optimizer.step()
        self._model.optimizer.zero_grad(set_to_none=True)
        self._update("user", users)
        new_items = self._update("item", items)
        self._model.candidates.observe(batch, new_items)
        self._model.step += 1
        self._model.events += len(batch)
        return scores

    def _histories(self, batch: EventBatch) -> NDArray[np.int64]:
        """What each event sees, int64[B, L]; the clicks of the batch are appended."""
        table = self._model.tables["history"]
        clickers = batch.user[batch.label > 0]
        table.touch(table.admit(clickers))
        values = table.values("items")
        seen = np.empty((len(batch), values.shape[1]), np.int64)
        read_and_extend(values, table.slots(batch.user), batch.item, batch.label, seen)
        return seen

    def _gather(self, table: str, keys: NDArray[np.int64]) -> _Gathered:
        distinct, index = np.unique(keys, return_inverse=True)
        # Allocated by torch, whose alignment makes the same sums on every run.
        leaf = torch.empty((len(distinct), self._model.design.architecture.embedding_dim))
        read_rows(self._model.tables[table], self._defaults[table], distinct, leaf.numpy())
        return _Gathered(distinct, leaf.to(self._device).requires_grad_(), index)

    def _inputs(
        self,
        batch: EventBatch,
        histories: NDArray[np.int64],
        users: _Gathered,
        items: _Gathered,
    ) -> Inputs:
        def tensor(array: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(array).to(self._device)

        return Inputs(
            users=users.leaf,
            items=items.leaf,
            user_index=tensor(users.index),
            item_index=tensor(items.index[: len(batch)]),
            history_index=tensor(items.index[len(batch) :].reshape(histories.shape)),
            is_history=tensor(histories != PAD),
        )

    def _update(self, name: str, gathered: _Gathered) -> NDArray[np.int64]:
        """Row-wise Adagrad on the rows of a table; returns the keys that had no row before."""
        table: TrainingTable = self._model.tables[name]
        # PAD is the smallest key of all, so it can only stand first.
        first = 1 if len(gathered.keys) and gathered.keys[0] == PAD else 0
        keys = gathered.keys[first:]
        assert gathered.leaf.grad is not None
        gradients = gathered.leaf.grad.cpu().numpy()[first:]
        is_new = table.slots(keys) < 0
        self._descend(table, keys, gradients)
        if self._defaults[name].policy == "SharedOov" and is_new.any():
            # Every unknown key has read the shared row, so their gradients add up to its own.
            self._descend(table, _SHARED, gradients[is_new].sum(axis=0, keepdims=True))
        return keys[is_new]

    def _descend(
        self, table: TrainingTable, keys: NDArray[np.int64], gradients: NDArray[np.float32]
    ) -> None:
        slots = table.admit(keys)
        update_rows(table.values("rows"), table.values("accumulator"), slots, gradients, self._rate)
        table.touch(slots)
