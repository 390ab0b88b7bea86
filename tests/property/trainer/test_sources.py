"""Batches are cut by the stream alone: not by when it was polled, nor by where a reader began."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.settings import SyntheticSource
from millstream_trainer.sources.decoding import decode
from millstream_trainer.sources.protocol import WINDOW_SECONDS
from millstream_trainer.sources.synthetic import SyntheticStream
from tests.builders.trainer import START, RecordSource

gaps = st.lists(st.floats(0, 0.5), max_size=80)
delays = st.lists(st.floats(0.001, 3), max_size=60)
limits = st.integers(1, 20)


def batches(source: RecordSource, limit: int, polls: list[float]) -> list[list[int]]:
    """What a reader gets that polls at these times until nothing more comes each time."""
    found = []
    for now in polls:
        while records := source.poll(limit, now).records:
            found.append(list(records))
    return found


@given(gaps, limits, delays)
def test_when_it_is_polled_does_not_matter(
    gaps: list[float], limit: int, delays: list[float]
) -> None:
    times = START + np.cumsum(gaps)
    records, end = list(range(len(gaps))), START + 1e6
    patient = batches(RecordSource(records, times), limit, [end])
    eager = batches(RecordSource(records, times), limit, [*(START + np.cumsum(delays)), end])
    assert eager == patient
    assert list(chain.from_iterable(patient)) == records
    for batch in patient:
        assert len(batch) <= limit
        windows = np.floor(times[batch] / WINDOW_SECONDS)
        assert len(set(windows)) == 1
    for earlier, later in pairwise(patient):
        is_full = len(earlier) == limit
        windows = np.floor(times[[earlier[-1], later[0]]] / WINDOW_SECONDS)
        assert is_full or windows[0] != windows[1], "batches are as large as they may be"


@settings(deadline=None, max_examples=30)
@given(
    st.integers(0, 3),
    st.floats(1, 5000),
    st.integers(1, 300),
    st.integers(0, 30),
)
def test_generated_events_do_not_depend_on_where_reading_began(
    seed: int, rate: float, limit: int, batch: int
) -> None:
    settings = SyntheticSource(
        seed=seed, start=START, events_per_second=rate, users=50, items=50, drift_per_hour=5
    )
    reader, end = SyntheticStream(settings), START + 1e6
    for _ in range(batch):
        positions = reader.poll(limit, end).positions
    other = SyntheticStream(settings)
    if batch:
        other.seek(positions)
    assert other.poll(limit, end) == reader.poll(limit, end)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
fields = st.sampled_from(["user_id", "item_id", "label", "event_time", "other"])


@given(st.lists(anything | st.dictionaries(fields, anything, max_size=5), max_size=6))
def test_no_record_is_fatal(records: list) -> None:
    batch = decode(records)
    assert len(batch) + batch.rejected.total() == len(records)
    assert np.isfinite(batch.time).all()
    assert set(batch.label.tolist()) <= {0.0, 1.0}
