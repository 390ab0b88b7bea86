"""Popular and new items: decaying, bounded, the same after a restart."""

from __future__ import annotations

import numpy as np

from millstream_trainer import candidates
from millstream_trainer.candidates import HALF_LIFE_SECONDS, NEWEST, POPULAR, Candidates
from tests.builders.trainer import START, make_batch

NONE_NEW = np.empty(0, np.int64)


def clicked(kept: Candidates, items: list[int], time: float = START) -> None:
    kept.observe(make_batch([1] * len(items), items, [1] * len(items), time), NONE_NEW)


def test_the_most_clicked_come_first() -> None:
    kept = Candidates()
    clicked(kept, [5, 7, 7, 9, 7, 9])
    assert kept.popular().tolist() == [7, 9, 5]


def test_only_clicks_count() -> None:
    kept = Candidates()
    kept.observe(make_batch([1, 1], [5, 7], [0, 1]), NONE_NEW)
    assert kept.popular().tolist() == [7]


def test_ties_are_broken_by_key() -> None:
    kept = Candidates()
    clicked(kept, [9, 3, -4])
    assert kept.popular().tolist() == [-4, 3, 9]


def test_old_clicks_weigh_less() -> None:
    kept = Candidates()
    clicked(kept, [5, 5, 5])
    clicked(kept, [7, 7], START + HALF_LIFE_SECONDS)
    assert kept.popular().tolist() == [7, 5]


def test_weights_stay_finite_over_years() -> None:
    kept = Candidates()
    for day in range(0, 2000, 20):
        clicked(kept, [day], START + day * 86_400)
    weights = kept.state()["popularity.weights"]
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert kept.popular()[0] == 1980


def test_lists_are_bounded() -> None:
    kept = Candidates()
    clicked(kept, list(range(1000)))
    kept.observe(make_batch([1], [1], [0]), np.arange(1000))
    assert len(kept.popular()) == POPULAR
    assert kept.newest().tolist() == list(range(999, 999 - NEWEST, -1))


def test_counting_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(candidates, "COUNTED", 10)
    kept = Candidates()
    for item in range(1000):
        clicked(kept, [item, 5, 6], START + item)
    assert len(kept.state()["popularity.items"]) <= 40
    assert set(kept.popular()[:2].tolist()) == {5, 6}


def test_a_restart_continues_exactly() -> None:
    random = np.random.default_rng(1)
    first = Candidates()

    def go_on(kept: Candidates, seed: int) -> None:
        numbers = np.random.default_rng(seed)
        for step in range(200):
            items = numbers.zipf(1.3, 20) % 500
            labels = numbers.integers(0, 2, 20)
            kept.observe(
                make_batch([1] * 20, items, labels, START + (seed * 200 + step) * 300.0),
                random.integers(0, 10**9, 0),
            )

    go_on(first, 1)
    second = Candidates()
    second.restore(first.state())
    go_on(first, 2)
    go_on(second, 2)
    for name, value in first.state().items():
        np.testing.assert_array_equal(value, second.state()[name])
