"""What training is for: it learns the truth, and keeps up with it where a frozen model does not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from millstream_api.settings import MovielensSource, SyntheticSource
from millstream_core.evaluation import area_under_curve
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf
from millstream_trainer.learner import Learner
from millstream_trainer.sources.decoding import decode
from millstream_trainer.sources.movielens import MovielensReplay
from millstream_trainer.sources.synthetic import SyntheticStream
from tests.builders.trainer import START, Run, VirtualClock, make_settings, manifests, store_of

WARM, LATER = 60.0, 150.0  # seconds until the frozen model is published, and after
SETTINGS = make_settings(
    synthetic=SyntheticSource(start=START, seed=7, users=1000, items=500, drift_per_hour=30.0),
    embedding_dim=16,
    history_length=10,
    batch_size=256,
    publish_interval_seconds=30.0,
)


@dataclass(frozen=True)
class Scored:
    """The same later events as scored by both models and by the truth."""

    time: np.ndarray
    label: np.ndarray
    fresh: np.ndarray
    frozen: np.ndarray
    truth: np.ndarray

    def auc(self, who: str, first: float, last: float) -> float:
        is_in = (self.time >= START + first) & (self.time < START + last)
        auc = area_under_curve(getattr(self, who)[is_in], self.label[is_in])
        assert auc is not None
        return auc


@pytest.fixture(scope="module")
def scored() -> Scored:
    """A version is published and kept; training goes on from it over the same stream."""
    run = Run(settings=SETTINGS, clock=VirtualClock(seconds=WARM)).run()
    versions = manifests(run.objects, SETTINGS)
    newest, pad = versions[max(versions)], ScratchPad()
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(store_of(run.objects, SETTINGS), pool)
        shelf.load(newest.ref(), lambda _: True, lambda _: None)
    frozen = shelf.held[newest.ref().digest]

    assert SETTINGS.synthetic is not None
    stream = SyntheticStream(SETTINGS.synthetic)
    stream.seek(newest.positions)
    fresh = Learner(run.trainer.model, sparse_learning_rate=SETTINGS.sparse_learning_rate)
    parts: list[tuple[np.ndarray, ...]] = []
    while records := stream.poll(256, START + WARM + LATER).records:
        batch = decode(records)
        frozen_logits = [
            frozen.logits(user, batch.item[[n]], frozen.history_of(user), pad)[0]
            for n, user in enumerate(batch.user.tolist())
        ]
        truth = stream.click_probability(batch.user, batch.item, batch.time)
        parts.append((batch.time, batch.label, fresh.learn(batch), np.array(frozen_logits), truth))
    return Scored(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def test_what_it_learned_is_far_from_chance_and_below_the_truth(scored: Scored) -> None:
    fresh = scored.auc("fresh", WARM, WARM + LATER)
    assert 0.65 < fresh < scored.auc("truth", WARM, WARM + LATER) - 0.03


def test_a_frozen_model_falls_behind_within_minutes(scored: Scored) -> None:
    """AUC over 12,000 events has a standard error of half a percent."""
    margins = [
        scored.auc("fresh", second, second + 60) - scored.auc("frozen", second, second + 60)
        for second in (WARM, WARM + 90)
    ]
    assert margins[0] < margins[1]
    assert margins[1] > 0.08


def test_movielens_is_learned_from_its_own_order() -> None:
    """The first 20,000 ratings, each predicted before it is seen."""
    try:
        source = MovielensReplay.of_installed_wheel(MovielensSource(start=START, speed=100_000))
    except ValueError as error:
        pytest.skip(str(error))
    run = Run(settings=SETTINGS, source=source, clock=VirtualClock(seconds=45)).run()
    last = run.reports[-1]
    assert last.events > 15_000
    assert last.rejected == {}
    measured = run.trainer._validation.measure()
    assert measured.auc is not None
    assert measured.auc > 0.62


@pytest.mark.parametrize("architecture", ["DotProduct", "MLP"])
def test_every_architecture_learns(architecture: str) -> None:
    """Progressive validation over the last of 12,000 events of a taste that turns slowly."""
    settings = make_settings(
        architecture=architecture,
        synthetic=SyntheticSource(start=START, seed=7, users=300, items=200),
        embedding_dim=16,
    )
    run = Run(settings=settings, clock=VirtualClock(seconds=60)).run()
    assert run.reports[-1].auc is not None
    assert run.reports[-1].auc > 0.7
