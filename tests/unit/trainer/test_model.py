"""The design of a model and the live state that it describes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from millstream_trainer.design import Design
from millstream_trainer.learner import Learner
from millstream_trainer.model import LiveModel
from tests.builders.features import make_features
from tests.builders.trainer import make_batch, make_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        pytest.param({"embedding_dim": 12}, True, id="a wider embedding is another lineage"),
        pytest.param({"history_length": 6}, True, id="a longer history is another lineage"),
        pytest.param({"seed": 1}, True, id="another seed is another lineage"),
        pytest.param(
            {"tables": {"item": {"served_as": "int8"}}}, True, id="rows in fewer bytes are another"
        ),
        pytest.param(
            {"tables": {"user": {"default_row": "SharedOov"}}},
            True,
            id="another row for unknown keys is another lineage",
        ),
        pytest.param(
            {"features": make_features()}, True, id="a model with features is another lineage"
        ),
        pytest.param({"feature_dim": 16}, False, id="how wide features are is nothing without any"),
        pytest.param(
            {"tables": {"item": {"multi_hash": {"rows": 1024}}}}, True, id="keys in several rows"
        ),
        pytest.param(
            {"tables": {"item": {"memory": {"budget": "1Gi", "overflow": "1Gi"}}}},
            False,
            id="where rows are may change",
        ),
        pytest.param({"batch_size": 32}, False, id="the batch size may change on the way"),
        pytest.param({"dense_learning_rate": 0.1}, False, id="a learning rate may change"),
        pytest.param({"publish_interval_seconds": 1.0}, False, id="the interval may change"),
    ],
)
def test_what_makes_a_lineage(change: dict[str, Any], is_new: bool) -> None:
    before = Design.of(make_settings()).lineage()
    after = Design.of(make_settings(**change)).lineage()
    assert (before != after) is is_new


def test_how_wide_features_are_makes_a_lineage() -> None:
    narrow, wide = (
        Design.of(make_settings(features=make_features(), feature_dim=dim)).lineage()
        for dim in (4, 8)
    )
    assert narrow != wide


def test_a_lineage_is_the_same_on_every_machine() -> None:
    """Frozen: if this changes, every model in production begins anew."""
    assert Design.of(make_settings()).lineage() == "570d0347f404"


def test_dense_state_survives_the_files() -> None:
    design = Design.of(make_settings())
    first, second = (LiveModel.fresh(design, 0.001, CPU) for _ in range(2))
    learner = Learner(first, sparse_learning_rate=0.05)
    for step in range(5):
        learner.learn(make_batch([1, 2], [5 + step, 6], [1, 0]))
    second.restore_dense(first.serve_tensors(), first.train_tensors())
    assert second.events == 10
    for tensors in ("serve_tensors", "train_tensors"):
        ours, theirs = getattr(first, tensors)(), getattr(second, tensors)()
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_dense_state_is_copied_not_shared() -> None:
    """A snapshot must not change while training goes on."""
    model = LiveModel.fresh(Design.of(make_settings()), 0.001, CPU)
    learner = Learner(model, sparse_learning_rate=0.05)
    learner.learn(make_batch([1], [5], [1]))
    copies = [model.serve_tensors(), model.train_tensors()]
    before = [{name: value.copy() for name, value in tensors.items()} for tensors in copies]
    learner.learn(make_batch([2], [6], [1]))
    for tensors, kept in zip(copies, before, strict=True):
        assert all(np.array_equal(tensors[name], kept[name]) for name in tensors)


def test_dense_state_of_another_design_is_refused() -> None:
    narrow, wide = (
        LiveModel.fresh(Design.of(make_settings(embedding_dim=width)), 0.001, CPU)
        for width in (8, 12)
    )
    with pytest.raises(RuntimeError):
        wide.restore_dense(narrow.serve_tensors(), narrow.train_tensors())
