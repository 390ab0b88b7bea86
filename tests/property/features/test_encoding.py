"""R30: however hostile a context, its keys and floats are a function of it alone, and in range."""

from __future__ import annotations

import math

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_core.features import ContextFeatures, read_context
from millstream_core.features.plan import log1p
from tests.builders.features import BEYOND_JSON, CONTEXTS, NAMES, make_features

FEATURES = ContextFeatures(make_features())
# The first example may compile a kernel.
UNHURRIED = settings(deadline=None)
CODES = [51, 21, 5, 5, 5, 4, 41]  # codes of each feature that reads a row, none included


@UNHURRIED
@given(st.lists(CONTEXTS, max_size=8))
def test_a_context_is_encoded_the_same_in_any_company(contexts):
    """R30: a batch of the trainer's and a single request of a server's agree to the bit."""
    read = [read_context(context) for context in contexts]
    together = FEATURES.encode(read)
    for n, context in enumerate(read):
        alone = FEATURES.encode([context])
        assert alone.keys.tobytes() == together.keys[[n]].tobytes()
        assert alone.floats.tobytes() == together.floats[[n]].tobytes()


@UNHURRIED
@given(CONTEXTS)
def test_a_context_that_travels_as_json_is_the_same(context):
    """R30: an event in the process and a request as bytes."""
    sent = FEATURES.encode([read_context(orjson.loads(json_of(context)))])
    here = FEATURES.encode([read_context(context)])
    assert sent.keys.tobytes() == here.keys.tobytes()
    assert sent.floats.tobytes() == here.floats.tobytes()


def json_of(context: dict) -> bytes:
    """As a writer without limits to its integers would write it."""
    written = (
        f"{orjson.dumps(name).decode()}:{number_of(value)}" for name, value in context.items()
    )
    return ("{" + ",".join(written) + "}").encode()


def number_of(value: object) -> str:
    return str(value) if isinstance(value, int) else orjson.dumps(value).decode()


@UNHURRIED
@given(CONTEXTS)
def test_codes_and_floats_stay_in_range(context):
    """Tables stay bounded and scores finite, whatever is sent."""
    encoded = FEATURES.encode([read_context(context)])
    columns, codes = encoded.keys[0] >> 32, encoded.keys[0] & (2**32 - 1)
    assert columns.tolist() == list(range(len(CODES)))
    assert (codes < CODES).all()
    assert np.isfinite(encoded.floats).all()
    assert (np.abs(encoded.floats) <= 10).all()


@UNHURRIED
@given(CONTEXTS, st.sampled_from(NAMES), st.sampled_from(BEYOND_JSON))
def test_what_is_no_number_reads_as_no_value(context, name, value):
    absent = {key: each for key, each in context.items() if key != name}
    found = FEATURES.encode([read_context(context | {name: value})])
    expected = FEATURES.encode([read_context(absent)])
    assert found.keys.tobytes() == expected.keys.tobytes()
    assert found.floats.tobytes() == expected.floats.tobytes()


@UNHURRIED
@given(st.integers(-(2**53), 2**53), st.sampled_from(NAMES))
def test_a_whole_number_is_the_same_with_and_without_a_point(number, name):
    one, other = (FEATURES.encode([read_context({name: n})]) for n in (number, float(number)))
    assert one.keys.tobytes() == other.keys.tobytes()
    assert one.floats.tobytes() == other.floats.tobytes()


@UNHURRIED
@given(
    st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=20, unique=True), st.floats(-1e16, 1e16)
)
def test_a_bucket_is_the_number_of_boundaries_at_or_below(boundaries, value):
    document = {"name": "a", "bucket": {"boundaries": sorted(boundaries)}}
    encoded = ContextFeatures(make_features(document)).encode([{"a": value}])
    assert encoded.keys[0, 0] == 1 + sum(edge <= value for edge in boundaries)


@UNHURRIED
@given(
    st.lists(st.floats(0, 1e300), min_size=2, max_size=5),
    st.floats(-1e9, 1e9),
    st.floats(1e-9, 1e9),
    st.booleans(),
)
def test_a_larger_number_never_becomes_a_smaller_float(values, mean, std, log):
    scale = {"mean": mean, "std": std, "log": log}
    features = ContextFeatures(make_features({"name": "a", "normalise": scale}))
    floats = features.encode([{"a": value} for value in sorted(values)]).floats[:, 0]
    assert (np.diff(floats) >= 0).all()


@UNHURRIED
@given(st.floats(0, allow_infinity=False))
def test_the_logarithm_is_that_of_the_library_to_15_digits(value):
    assert math.isclose(log1p(value), math.log1p(value), rel_tol=1e-15, abs_tol=2.3e-16)
