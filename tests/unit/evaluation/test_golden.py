"""The events that a version brings along, to be asked about the next one."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_core.evaluation import LABELLED, GoldenEvents, golden
from millstream_core.features import PAD

NO_EVENTS = GoldenEvents()


def followed(events: GoldenEvents, users, items, clicks) -> GoldenEvents:
    return events.followed_by(np.array(users), np.array(items), np.array(clicks, np.bool_))


def listed(events: GoldenEvents) -> list[tuple[int, int, int]]:
    columns = (events.users.tolist(), events.items.tolist(), events.clicks.tolist())
    return list(zip(*columns, strict=True))


def test_the_newest_are_kept_oldest_first() -> None:
    events = followed(NO_EVENTS, range(golden.KEPT), range(golden.KEPT), [0] * golden.KEPT)
    events = followed(events, [7, 8], [70, 80], [1, 0])
    assert len(events) == golden.KEPT
    assert listed(events)[0] == (2, 2, 0)
    assert listed(events)[-2:] == [(7, 70, 1), (8, 80, 0)]


def test_events_without_a_user_or_an_item_tell_nothing() -> None:
    """Those of erased keys are such events."""
    assert listed(followed(NO_EVENTS, [1, PAD, 2], [PAD, 3, 4], [1, 1, 1])) == [(2, 4, 1)]


def test_they_travel_as_they_are() -> None:
    events = followed(NO_EVENTS, [1, 2], [10, 20], [1, 0])
    weights = {"head.0.bias": np.zeros(3, np.float32)}
    assert listed(GoldenEvents.of(weights | events.tensors())) == listed(events)
    assert len(GoldenEvents.of(weights)) == 0, "of before there were any"


KEYS, CLICKS = np.arange(3), np.zeros(3, np.uint8)
TOO_MANY = np.zeros(golden.KEPT + 1, np.int64)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        pytest.param((KEYS, KEYS, CLICKS[:2]), "equally long", id="one is shorter"),
        pytest.param((TOO_MANY, TOO_MANY, TOO_MANY.astype(np.uint8)), "at most", id="too many"),
        pytest.param((KEYS, KEYS, KEYS), "int64 and uint8", id="another type"),
        pytest.param((KEYS, KEYS), "must be lists", id="one is missing"),
        pytest.param((KEYS[:, None],) * 2 + (CLICKS,), "must be lists", id="no lists"),
    ],
)
def test_what_is_not_of_this_form_is_refused(columns, said) -> None:
    with pytest.raises(ValueError, match=said):
        GoldenEvents.of(dict(zip(LABELLED, columns, strict=False)))
