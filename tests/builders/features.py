"""Features of every kind, and contexts that fit them and that do not."""

from __future__ import annotations

import math
from typing import Any, Final

from hypothesis import strategies as st

from millstream_api.features import FeatureSpec
from millstream_api.manifest import ContextInputs
from millstream_core.features import ContextFeatures

# One of each kind and of each way to be missing.
DOCUMENTS: Final[list[dict[str, Any]]] = [
    {"name": "country", "hash": {"buckets": 50, "seed": 3}},
    {"name": "campaign", "hash": {"buckets": 20, "missing": "none"}},
    {"name": "device", "vocabulary": {"values": ["phone", "tablet", "web"]}},
    {"name": "weekday", "vocabulary": {"values": ["0", "1", "2"], "missing": "0"}},
    {"name": "hour", "bucket": {"boundaries": [6, 12, 18]}},
    {"name": "age", "bucket": {"boundaries": [18, 25.5], "missing": 30}},
    {"name": "price", "normalise": {"mean": 3, "std": 1.5, "log": True}},
    {"name": "score", "normalise": {"min": -1, "max": 1, "missing": 0.25}},
    {"name": "device_hour", "cross": {"of": ["device", "hour"], "buckets": 40, "seed": 7}},
]


def make_features(*documents: dict[str, Any]) -> tuple[FeatureSpec, ...]:
    """These features; without any, one of each kind."""
    return tuple(FeatureSpec.model_validate(each) for each in documents or DOCUMENTS)


def context_inputs(features: tuple[FeatureSpec, ...], dim: int = 4) -> ContextInputs:
    """What a network reads of these features."""
    compiled = ContextFeatures(features)
    return ContextInputs(rows=compiled.rows, dim=dim, floats=compiled.floats)


NAMES: Final = [each["name"] for each in DOCUMENTS]

HOSTILE: Final[list[Any]] = [
    "", "phone", "Phone", "7", "7.0", "-0", "NaN", "null", "ü" * 256, "\U0001f600", "x" * 256,
    "\x00", 0, 7, 7.0, -0.0, 0.1, -1, 6, 12, 5.999999999999999, 18, 1e308, -1e308, 5e-324, 1e15,
    2**53, 2**53 + 1, 2**63, -(2**63), 2**64 - 1, 2**64, 10**30, -(10**30), None,
]  # fmt: skip
# What only a program can hand over: JSON has no such numbers.
BEYOND_JSON: Final = [math.nan, math.inf, -math.inf, 10**400]

VALUES: Final = st.one_of(
    st.sampled_from(HOSTILE),
    st.text("ab7.-ü€\U0001f600\x00", max_size=20),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
)
CONTEXTS: Final = st.dictionaries(st.sampled_from(NAMES), VALUES)
