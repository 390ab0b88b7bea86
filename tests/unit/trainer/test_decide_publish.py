"""When a version is published, as a table of situations."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_trainer.publishing.decisions import (
    FIRST_EVENTS,
    FIRST_INTERVALS,
    LONGEST_RETRY_SECONDS,
    LastVersion,
    PublishDecision,
    TrainingProgress,
    decide_publish,
    retry_delay,
)
from tests.builders.trainer import make_settings

NOW = 1000.0
SETTINGS = make_settings(
    publish_interval_seconds=30, publish_events=2_000, base_every=3, base_share=0.5
)


def make_progress(**fields: Any) -> TrainingProgress:
    known: dict[str, Any] = {
        "events": 9000,
        "event_seconds": 60.0,
        "knows_store": True,
        "is_publishing": False,
        "is_draining": False,
    }
    return TrainingProgress(**(known | fields))


def make_last(**fields: Any) -> LastVersion:
    known: dict[str, Any] = {"events": 8000, "taken_at": NOW - 31, "chain_length": 0}
    return LastVersion(**(known | fields))


@pytest.mark.parametrize(
    ("progress", "last", "decision"),
    [
        pytest.param(
            make_progress(),
            make_last(),
            PublishDecision("delta", "IntervalPassed"),
            id="a delta is due when the interval has passed",
        ),
        pytest.param(
            make_progress(),
            make_last(chain_length=1),
            PublishDecision("delta", "IntervalPassed"),
            id="the second of three versions is a delta",
        ),
        pytest.param(
            make_progress(),
            make_last(chain_length=2),
            PublishDecision("base", "IntervalPassed"),
            id="the third version after a base is a base again",
        ),
        pytest.param(
            make_progress(),
            make_last(chain_share=0.5),
            PublishDecision("delta", "IntervalPassed"),
            id="R16: a delta while the chain weighs half of its base",
        ),
        pytest.param(
            make_progress(),
            make_last(chain_share=0.51),
            PublishDecision("base", "IntervalPassed"),
            id="R16: a base once the chain weighs more than half of one",
        ),
        pytest.param(
            make_progress(),
            make_last(taken_at=NOW - 29),
            PublishDecision(None, "TooSoon"),
            id="nothing before the interval has passed",
        ),
        pytest.param(
            make_progress(events=10_000),
            make_last(taken_at=NOW - 2),
            PublishDecision("delta", "EventsLearned"),
            id="R8: sooner, when as many events were learned as a version may hold",
        ),
        pytest.param(
            make_progress(events=9_999),
            make_last(taken_at=NOW - 2),
            PublishDecision(None, "TooSoon"),
            id="R8: not sooner with an event less",
        ),
        pytest.param(
            make_progress(),
            make_last(taken_at=NOW - 30),
            PublishDecision("delta", "IntervalPassed"),
            id="the interval counts from snapshot to snapshot",
        ),
        pytest.param(
            make_progress(events=8000),
            make_last(),
            PublishDecision(None, "NothingLearned"),
            id="nothing when nothing was learned",
        ),
        pytest.param(
            make_progress(is_publishing=True),
            make_last(),
            PublishDecision(None, "InFlight"),
            id="one publish at a time",
        ),
        pytest.param(
            make_progress(knows_store=False),
            None,
            PublishDecision(None, "StoreNotMet"),
            id="nothing before the store has said what there is",
        ),
        pytest.param(
            make_progress(retry_at=NOW + 1),
            make_last(),
            PublishDecision(None, "WaitsToRetry"),
            id="nothing while waiting after a failure",
        ),
        pytest.param(
            make_progress(retry_at=NOW),
            make_last(),
            PublishDecision("delta", "IntervalPassed"),
            id="again once the wait after a failure is over",
        ),
        pytest.param(
            make_progress(),
            None,
            PublishDecision("base", "FirstVersion"),
            id="the first version is a base",
        ),
        pytest.param(
            make_progress(events=FIRST_EVENTS - 1),
            None,
            PublishDecision(None, "TooLittleLearned"),
            id="no first version of a model that has hardly begun",
        ),
        pytest.param(
            make_progress(events=1, event_seconds=FIRST_INTERVALS * 30.0),
            None,
            PublishDecision("base", "FirstVersion"),
            id="a slow stream is waited for only so long",
        ),
        pytest.param(
            make_progress(events=0, event_seconds=0.0),
            None,
            PublishDecision(None, "NothingLearned"),
            id="no first version of nothing",
        ),
        pytest.param(
            make_progress(is_draining=True),
            make_last(taken_at=NOW - 1),
            PublishDecision("delta", "Draining"),
            id="what is left is published on the way out",
        ),
        pytest.param(
            make_progress(is_draining=True, retry_at=NOW + 20),
            make_last(taken_at=NOW - 1),
            PublishDecision("delta", "Draining"),
            id="the way out does not wait to retry",
        ),
        pytest.param(
            make_progress(is_draining=True, events=8000),
            make_last(taken_at=NOW - 1),
            PublishDecision(None, "NothingLearned"),
            id="nothing is left on the way out",
        ),
    ],
)
def test_decide_publish(
    progress: TrainingProgress, last: LastVersion | None, decision: PublishDecision
) -> None:
    assert decide_publish(progress, last, NOW, SETTINGS) == decision


def test_retries_double_up_to_a_bound() -> None:
    assert [retry_delay(failures) for failures in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert retry_delay(10_000) == LONGEST_RETRY_SECONDS
