"""Trainer and server answer alike: what was published scores as it did when it was learned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from millstream_core.features import PAD
from millstream_serving.engine.versions import ModelVersion, ScratchPad
from millstream_serving.loading.shelf import Shelf
from millstream_trainer.learner import Learner
from millstream_trainer.model import Design
from millstream_trainer.publishing.restoring import Restorer, restore_newest
from millstream_trainer.sources.decoding import EventBatch
from tests.builders.trainer import START, Run, VirtualClock, manifests, store_of


@pytest.fixture(scope="module")
def trained() -> Run:
    return Run(clock=VirtualClock(seconds=16)).run()


@pytest.fixture(scope="module")
def shelf(trained: Run) -> Shelf:
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(store_of(trained.objects), pool)
        versions = manifests(trained.objects)
        shelf.load(versions[max(versions)].ref(), lambda _: True, lambda _: None)
    return shelf


def newest(trained: Run, shelf: Shelf) -> ModelVersion:
    versions = manifests(trained.objects)
    return shelf.held[versions[max(versions)].ref().digest]


def test_a_server_takes_every_delta(trained: Run, shelf: Shelf) -> None:
    """Digests, parents, transform, columns and the state of each table fit."""
    kept = newest(trained, shelf)
    for name, table in trained.trainer.model.tables.items():
        assert kept.tables[name].rows == len(table)
        assert kept.tables[name].digest == table.digest


def test_scores_are_the_same_on_both_sides(trained: Run, shelf: Shelf) -> None:
    """torch over restored tables against the server's kernel over the published version."""
    with ThreadPoolExecutor(2) as pool:
        restorer = Restorer(
            store_of(trained.objects),
            pool,
            Design.of(trained.settings),
            0.0,
            torch.device("cpu"),
            trained.settings.tables,
        )
        model, _ = restore_newest(restorer, (), epoch=99)
    assert model is not None
    version, pad = newest(trained, shelf), ScratchPad()
    random = np.random.default_rng(5)
    users = random.integers(1, 400, 200)  # some are unknown
    items = random.integers(1, 260, 200)
    no_clicks = np.zeros(200, np.float32)
    expected = Learner(model, sparse_learning_rate=0.0).learn(
        EventBatch(users, items, no_clicks, np.full(200, START))
    )
    found = [
        version.logits(int(user), np.array([item]), version.history_of(int(user)), pad)[0]
        for user, item in zip(users, items, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-4)
    assert np.std(expected) > 0.05, "scores that say nothing would agree too easily"


def test_histories_and_candidates_travel_with_the_version(trained: Run, shelf: Shelf) -> None:
    version, model = newest(trained, shelf), trained.trainer.model
    assert version.popular.tolist() == model.candidates.popular().tolist()
    assert version.newest.tolist() == model.candidates.newest().tolist()
    slots = model.tables["history"].slots(np.array([1, 2, 3]))
    for user, row in zip((1, 2, 3), model.tables["history"].values("items")[slots], strict=True):
        assert version.history_of(user).tolist() == row[row != PAD].tolist()
        assert len(version.history_of(user)) > 0
