"""The generator: reproducible from anywhere, with a truth that moves."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from millstream_api.manifest import CLICK_AND_CONVERSION
from millstream_api.settings import SyntheticSource
from millstream_core.evaluation import area_under_curve
from millstream_trainer.sources.decoding import EventBatch, decode
from millstream_trainer.sources.synthetic import BLOCK, DEVICES, SyntheticStream
from tests.builders.trainer import START

LATER = START + 1e6


def make_stream(**fields: Any) -> SyntheticStream:
    known: dict[str, Any] = {"seed": 3, "start": START, "events_per_second": 1000.0}
    return SyntheticStream(SyntheticSource(**(known | fields)))


def events(stream: SyntheticStream, count: int) -> EventBatch:
    records: list[Any] = []
    while len(records) < count:
        records += stream.poll(min(1000, count - len(records)), LATER).records
    return decode(records, tasks=CLICK_AND_CONVERSION)


def test_a_reader_continues_anywhere_with_the_same_events() -> None:
    whole = make_stream()
    everything = [whole.poll(100, LATER) for _ in range(100)]
    assert sum(len(polled.records) for polled in everything) > BLOCK
    for start in (0, 1, 80, 99):
        reader = make_stream()
        if start:
            reader.seek(everything[start - 1].positions)
        assert reader.poll(100, LATER) == everything[start]


def test_seeds_make_different_streams() -> None:
    assert make_stream(seed=1).poll(50, LATER) != make_stream(seed=2).poll(50, LATER)


def test_events_happen_at_their_rate_and_not_before() -> None:
    stream = make_stream(events_per_second=100.0)
    assert not stream.poll(100, START - 1).records
    polled = stream.poll(1000, START + 10)
    times = [record["event_time"] for record in polled.records]
    assert times == pytest.approx([START + n / 100 for n in range(len(times))], abs=1e-3)
    assert times[-1] <= START + 10


def test_lag_is_the_age_of_the_oldest_event_that_is_due() -> None:
    stream = make_stream()
    assert stream.poll(10, START + 30).lag_seconds == pytest.approx(30)
    assert make_stream().poll(10, START - 5).lag_seconds == 0


def test_clicks_follow_the_truth() -> None:
    stream = make_stream(drift_per_hour=30)
    batch = events(stream, 30_000)
    truth = stream.click_probability(batch.user, batch.item, batch.time)
    for low in np.arange(0.1, 0.9, 0.2):
        is_near = (truth >= low) & (truth < low + 0.2)
        assert batch.label[is_near].mean() == pytest.approx(truth[is_near].mean(), abs=0.03)
    auc = area_under_curve(truth, batch.label)
    assert auc is not None
    assert 0.8 < auc < 0.9


def test_conversions_follow_a_truth_of_their_own() -> None:
    stream = make_stream(drift_per_hour=30)
    batch = events(stream, 60_000)
    assert batch.conversion is not None
    is_click = batch.label > 0
    truth = stream.conversion_probability(batch.user, batch.item)[is_click]
    converted = batch.conversion[is_click]
    for low in np.arange(0.0, 0.8, 0.2):
        is_near = (truth >= low) & (truth < low + 0.2)
        assert converted[is_near].mean() == pytest.approx(truth[is_near].mean(), abs=0.03)
    assert not batch.conversion[~is_click].any()
    clicked = stream.click_probability(batch.user, batch.item, batch.time)
    both = clicked * stream.conversion_probability(batch.user, batch.item)
    of_clicks, of_both = (area_under_curve(each, batch.conversion) for each in (clicked, both))
    assert of_clicks is not None
    assert of_both is not None
    assert of_both > of_clicks + 0.05, "who clicks does not tell who converts"


def test_clicks_are_what_they_were_before_there_were_conversions() -> None:
    """Figures of earlier runs can be had again: users, items, clicks and times to the bit."""
    batch = events(make_stream(), 2 * BLOCK)
    columns = (batch.user, batch.item, batch.label, batch.time)
    digest = hashlib.sha256(b"".join(column.tobytes() for column in columns))
    assert digest.hexdigest()[:16] == "b4d875a55eebeb34"


def test_knowing_only_the_truth_of_two_minutes_ago_costs_much() -> None:
    """The known cost of staleness, which the trained models are later held against."""
    stream = make_stream(drift_per_hour=30)
    batch = events(stream, 30_000)
    fresh = area_under_curve(
        stream.click_probability(batch.user, batch.item, batch.time), batch.label
    )
    stale = area_under_curve(
        stream.click_probability(batch.user, batch.item, batch.time - 120), batch.label
    )
    assert fresh is not None
    assert stale is not None
    assert fresh - stale > 0.1


def test_what_is_true_does_not_depend_on_what_else_is_asked() -> None:
    stream = make_stream()
    users, items, times = np.array([3, 900]), np.array([5, 70_000]), np.array([START, START])
    together = stream.click_probability(users, items, times)
    alone = [
        stream.click_probability(users[[n]], items[[n]], times[[n]])[0] for n in range(len(users))
    ]
    assert together.tolist() == alone


def test_a_hundred_million_users_cost_nothing() -> None:
    batch = events(make_stream(users=10**8, items=10**8), 2000)
    assert batch.user.max() > 10**7
    assert batch.user.min() >= 1
    assert batch.user.max() <= 10**8


@pytest.mark.parametrize("users", [1, 2, 1000])
def test_every_user_comes_up_and_none_beyond(users: int) -> None:
    batch = events(make_stream(users=users, items=users), 30_000)
    assert set(batch.user.tolist()) == set(range(1, users + 1))


def test_every_event_has_a_device_and_an_hour() -> None:
    records = make_stream().poll(1000, LATER).records
    contexts = [record["context"] for record in records]
    assert {context["device"] for context in contexts} == set(DEVICES)
    assert {context["hour"] for context in contexts} == {22}  # START is 22:13 UTC


def test_without_an_effect_the_context_says_nothing_of_clicks() -> None:
    stream = make_stream()
    batch = events(stream, 1000)
    np.testing.assert_array_equal(
        stream.click_probability(batch.user, batch.item, batch.time, batch.item % 3),
        stream.click_probability(batch.user, batch.item, batch.time),
    )


def test_with_an_effect_devices_click_different_items() -> None:
    stream = make_stream(context_effect=1.0)
    records = [r for _ in range(20) for r in stream.poll(1000, LATER).records]
    batch = decode(records)
    devices = np.array([DEVICES.index(record["context"]["device"]) for record in records])
    known, unknown = (
        area_under_curve(
            stream.click_probability(batch.user, batch.item, batch.time, given), batch.label
        )
        for given in (devices, None)
    )
    assert known is not None
    assert unknown is not None
    assert known > unknown + 0.03


def test_without_drift_the_truth_stays() -> None:
    stream = make_stream(drift_per_hour=0.0)
    batch = events(stream, 1000)
    np.testing.assert_allclose(
        stream.click_probability(batch.user, batch.item, batch.time),
        stream.click_probability(batch.user, batch.item, batch.time + 1e6),
    )


def test_new_items_keep_coming() -> None:
    stream = make_stream(items=100, new_items_per_hour=3600.0, events_per_second=200.0)
    batch = events(stream, 20_000)
    first, last = batch.item[:2000], batch.item[-2000:]
    assert first.max() < 120
    assert last.max() > 190
    assert batch.item.min() == 1


def test_few_make_most_of_the_noise() -> None:
    batch = events(make_stream(), 20_000)
    counts = np.sort(np.bincount(batch.user))[::-1]
    assert counts[:200].sum() > 0.35 * len(batch)


@pytest.mark.parametrize("positions", [{"0": -1}, {"1": 5}])
def test_a_position_of_another_stream_is_refused(positions: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="never was at"):
        make_stream().seek(positions)


def test_a_stream_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="events_per_second"):
        make_stream(events_per_second=0.0)
