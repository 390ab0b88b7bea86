"""The thread beside the training."""

from __future__ import annotations

import threading

import pytest

from millstream_trainer.publishing.background import BackgroundThread


def test_a_result_is_there_when_the_job_is_done() -> None:
    background: BackgroundThread[int] = BackgroundThread("test")
    go = threading.Event()

    def job() -> int:
        go.wait(10)
        return 7

    assert not background.is_busy
    background.start(job)
    assert background.is_busy
    assert background.result() is None
    assert background.result(0.01) is None
    go.set()
    assert background.result(10) == 7
    assert not background.is_busy
    assert background.result() is None


def test_what_a_job_raises_is_raised_where_it_is_awaited() -> None:
    background: BackgroundThread[int] = BackgroundThread("test")
    background.start(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        background.result(10)
    background.start(lambda: 3)
    assert background.result(10) == 3


def test_one_job_at_a_time() -> None:
    background: BackgroundThread[int] = BackgroundThread("test")
    background.start(lambda: 3)
    with pytest.raises(AssertionError, match="one job"):
        background.start(lambda: 4)
