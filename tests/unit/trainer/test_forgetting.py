"""R29: events of an erased key teach the other side alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from millstream_api.erasure import Erasure
from millstream_core.erasure.ledger import Ledger
from millstream_core.features import PAD
from millstream_core.tables.snapshots import seal
from millstream_trainer.design import Design
from millstream_trainer.learner import Learner
from millstream_trainer.model import LiveModel
from tests.builders.trainer import make_batch, make_settings

SETTINGS = make_settings()


def ledger_of(subject, *keys: int) -> Ledger:
    ledger = Ledger(bytes(32))
    hashed = tuple(ledger.hashed(subject, key) for key in keys)
    return ledger.extended([Erasure(seq=1, action="erase", subject=subject, keys=hashed, at=0)])


@pytest.fixture
def model() -> LiveModel:
    """User 1 has clicked the items 10, 11 and 12."""
    made = LiveModel.fresh(Design.of(SETTINGS), 0.001, torch.device("cpu"))
    learn(made, [1, 1, 1], [10, 11, 12], [1, 1, 1])
    return made


def learn(model: LiveModel, users, items, labels) -> None:
    Learner(model, sparse_learning_rate=0.1).learn(make_batch(users, items, labels))


def keys_in(model: LiveModel, table: str) -> list[int]:
    return sorted(model.tables[table].keys_at(model.tables[table].all_slots()).tolist())


def history_of(model: LiveModel, user: int) -> list[int]:
    table = model.tables["history"]
    [slot] = table.slots(np.array([user]))
    return [] if slot < 0 else table.values("items")[slot].tolist()


def test_clicks_on_an_erased_item_are_in_no_history_and_no_list(model) -> None:
    model.forget(ledger_of("item", 11), after=0)
    assert history_of(model, 1) == [PAD, PAD, 10, PAD, 12]
    learn(model, [1, 1, 1], [11, 13, 11], [1, 1, 1])
    assert history_of(model, 1) == [PAD, 10, PAD, 12, 13]
    assert keys_in(model, "item") == [10, 12, 13]
    assert sorted(model.candidates.popular().tolist()) == [10, 12, 13]
    assert sorted(model.candidates.newest().tolist()) == [10, 12, 13]
    assert model.golden.items.tolist() == [10, 12, 13]


def test_events_of_an_erased_user_train_items_and_leave_no_trace_of_the_user(model) -> None:
    model.forget(ledger_of("user", 1), after=0)
    assert keys_in(model, "user") == keys_in(model, "history") == []
    learn(model, [1, 2, 1], [20, 20, 21], [1, 0, 1])
    assert keys_in(model, "user") == [2]
    assert keys_in(model, "history") == []
    assert keys_in(model, "item") == [10, 11, 12, 20, 21]
    assert model.golden.users.tolist() == [2]


def test_a_history_that_mentioned_an_erased_item_is_in_the_next_version(model) -> None:
    """Servers could not mend it by themselves."""
    before = model.tables["history"].snapshot(whole=False)
    model.tables["history"].committed(seal(before))
    model.forget(ledger_of("item", 11), after=0)
    rows = model.tables["history"].snapshot(whole=False).rows
    assert rows.keys.tolist() == [1]
    assert rows.columns["items"].tolist() == [[PAD, PAD, 10, PAD, 12]]
