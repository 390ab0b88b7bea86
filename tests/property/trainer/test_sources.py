"""Batches are cut by the stream alone: not by when it was polled, nor by where a reader began."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_api.manifest import CLICK_AND_CONVERSION
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
fields = st.sampled_from(["user_id", "item_id", "label", "conversion", "event_time", "other"])


@given(st.lists(anything | st.dictionaries(fields, anything, max_size=5), max_size=6))
def test_no_record_is_fatal(records: list) -> None:
    batch = decode(records, tasks=CLICK_AND_CONVERSION)
    assert len(batch) + batch.rejected.total() == len(records)
    assert np.isfinite(batch.time).all()
    assert set(batch.label.tolist()) <= {0.0, 1.0}
    assert batch.conversion is not None
    assert set(batch.conversion.tolist()) <= {0.0, 1.0}
    assert (batch.conversion <= batch.label).all()


whole = st.fixed_dictionaries(
    {"user_id": st.just(1), "item_id": st.just(2), "event_time": st.just(START)}
    | {
        field: st.sampled_from([0, 1, True, False, 1.0, 2, None])
        for field in ("label", "conversion")
    }
)


@given(st.lists(whole, max_size=6))
def test_the_fast_way_and_the_careful_way_agree_on_conversions(records: list) -> None:
    fast, careful = (decode(r, tasks=CLICK_AND_CONVERSION) for r in (records, [*records, None]))
    assert fast.rejected + Counter(NotAnObject=1) == careful.rejected
    assert fast.label.tolist() == careful.label.tolist()
    assert fast.conversion is not None
    assert careful.conversion is not None
    assert fast.conversion.tolist() == careful.conversion.tolist()
