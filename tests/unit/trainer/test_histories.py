"""Histories: what each event of a batch sees, and what it leaves behind."""

from __future__ import annotations

import numpy as np

from millstream_core.features import PAD
from millstream_trainer.models.histories import read_and_extend


def run(histories: np.ndarray, slots: list[int], items: list[int], labels: list[int]) -> list:
    seen = np.zeros((len(slots), histories.shape[1]), np.int64)
    read_and_extend(
        histories,
        np.array(slots, np.int32),
        np.array(items, np.int64),
        np.array(labels, np.float32),
        seen,
    )
    return seen.tolist()


def test_an_event_sees_the_clicks_before_it_also_of_its_batch() -> None:
    histories = np.full((2, 3), PAD)
    seen = run(histories, [0, 0, 1, 0], [10, 11, 12, 13], [1, 1, 1, 0])
    assert seen == [[PAD] * 3, [PAD, PAD, 10], [PAD] * 3, [PAD, 10, 11]]
    assert histories.tolist() == [[PAD, 10, 11], [PAD, PAD, 12]]


def test_the_oldest_click_falls_out() -> None:
    histories = np.array([[1, 2, 3]])
    assert run(histories, [0, 0], [4, 5], [1, 1]) == [[1, 2, 3], [2, 3, 4]]
    assert histories.tolist() == [[3, 4, 5]]


def test_what_was_not_clicked_leaves_no_trace() -> None:
    histories = np.array([[PAD, 2, 3]])
    run(histories, [0], [4], [0])
    assert histories.tolist() == [[PAD, 2, 3]]


def test_a_user_without_a_row_has_seen_nothing() -> None:
    histories = np.array([[1, 2, 3]])
    assert run(histories, [-1], [4], [1]) == [[PAD] * 3]
    assert histories.tolist() == [[1, 2, 3]]
