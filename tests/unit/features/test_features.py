"""What each kind of feature makes of a value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from millstream_core.features import ContextFeatures, read_context
from tests.builders.features import make_features

VOCABULARY = {"name": "a", "vocabulary": {"values": ["x", "7"]}}
BUCKET = {"name": "a", "bucket": {"boundaries": [6, 12]}}


def code(document: dict[str, Any], value: Any) -> int:
    """The code of a value of the one feature `a`."""
    encoded = ContextFeatures(make_features(document)).encode([read_context({"a": value})])
    return int(encoded.keys[0, 0])


def floats(scale: dict[str, Any], value: Any) -> list[float]:
    features = ContextFeatures(make_features({"name": "a", "normalise": scale}))
    found: list[float] = features.encode([read_context({"a": value})]).floats[0].tolist()
    return found


@pytest.mark.parametrize(
    ("document", "value", "expected"),
    [
        pytest.param(VOCABULARY, "x", 2, id="a listed value has its own row"),
        pytest.param(VOCABULARY, "7", 3, id="so has the next"),
        pytest.param(VOCABULARY, 7, 3, id="a number is its decimal form"),
        pytest.param(VOCABULARY, 7.0, 3, id="also with a fraction of nothing"),
        pytest.param(VOCABULARY, "y", 1, id="what is not listed shares a row"),
        pytest.param(VOCABULARY, None, 0, id="no value has a row of its own"),
        pytest.param(BUCKET, 5.9, 1, id="below the first boundary"),
        pytest.param(BUCKET, 6, 2, id="a boundary belongs to what is above it"),
        pytest.param(BUCKET, 11.5, 2, id="between two boundaries"),
        pytest.param(BUCKET, 1e300, 3, id="above the last boundary"),
        pytest.param(BUCKET, None, 0, id="no number has a row of its own"),
        pytest.param(BUCKET, "6", 0, id="a text is no number"),
        pytest.param({"name": "a", "hash": {"buckets": 1}}, "x", 1, id="a hash begins at one"),
        pytest.param({"name": "a", "hash": {"buckets": 1}}, "\ud83d", 1, id="half of an emoji"),
        pytest.param({"name": "a", "hash": {"buckets": 1}}, None, 0, id="no value is not hashed"),
    ],
)
def test_a_value_has_a_code(document: dict[str, Any], value: Any, expected: int) -> None:
    assert code(document, value) == expected


@pytest.mark.parametrize(
    ("document", "stands_in"),
    [
        ({"name": "a", "vocabulary": {"values": ["x", "y"], "missing": "y"}}, "y"),
        ({"name": "a", "hash": {"buckets": 1000, "missing": "none"}}, "none"),
        ({"name": "a", "bucket": {"boundaries": [1, 2], "missing": 1.5}}, 1.5),
    ],
    ids=["vocabulary", "hash", "bucket"],
)
def test_a_declared_value_stands_in_for_a_missing_one(
    document: dict[str, Any], stands_in: Any
) -> None:
    assert code(document, None) == code(document, stands_in) != 0


def test_the_seed_of_a_hash_decides_who_meets_whom() -> None:
    one, other = ({"name": "a", "hash": {"buckets": 1000, "seed": seed}} for seed in (0, 1))
    assert [code(one, f"v{n}") for n in range(20)] != [code(other, f"v{n}") for n in range(20)]


@pytest.mark.parametrize(
    ("scale", "value", "expected"),
    [
        pytest.param({"mean": 20, "std": 4}, 22, [0.5, 0], id="mean and std"),
        pytest.param({"mean": 20, "std": 4}, 1e300, [10, 0], id="far above"),
        pytest.param({"mean": 20, "std": 4}, -1e300, [-10, 0], id="far below"),
        pytest.param({"mean": 20, "std": 4}, None, [0, 1], id="no number sets a flag"),
        pytest.param({"mean": 20, "std": 4, "missing": 22}, None, [0.5], id="one that stands in"),
        pytest.param({"mean": 20, "std": 4, "missing": 22}, "x", [0.5], id="also for a text"),
        pytest.param({"min": 0, "max": 10}, 2.5, [0.25, 0], id="min and max"),
        pytest.param({"min": 0, "max": 10}, 11, [1, 0], id="above max"),
        pytest.param({"min": 0, "max": 10}, -1, [0, 0], id="below min"),
        pytest.param({"min": 0, "max": 10, "log": True}, -5, [0, 0], id="the log of less than 0"),
        pytest.param({"mean": 0, "std": 5e-324}, 1, [10, 0], id="the smallest std there is"),
    ],
)
def test_a_number_is_brought_to_scale(
    scale: dict[str, Any], value: Any, expected: list[float]
) -> None:
    assert floats(scale, value) == expected


def test_a_logarithm_is_one() -> None:
    [found, _] = floats({"mean": 1, "std": 2, "log": True}, 12.5)
    assert found == pytest.approx((np.log1p(12.5) - 1) / 2, rel=1e-7)


def test_features_never_share_a_row() -> None:
    documents = [{"name": f"f{n}", "hash": {"buckets": 10}} for n in range(5)]
    features = ContextFeatures(make_features(*documents))
    keys = features.encode([{f"f{n}": m for n in range(5)} for m in range(100)]).keys
    assert [len(np.unique(keys[:, n])) for n in range(5)] == [10] * 5
    assert len(np.unique(keys)) == 50


def test_a_cross_tells_combinations_apart() -> None:
    features = ContextFeatures(
        make_features(
            {"name": "both", "cross": {"of": ["a", "b"], "buckets": 1_000_000}},
            {"name": "a", "vocabulary": {"values": ["1", "2"]}},
            {"name": "b", "vocabulary": {"values": ["1", "2"]}},
        )
    )
    given = [{"a": a, "b": b} for a in ("1", "2", "3") for b in ("1", "2", "3")]
    given += [{"a": "1"}, {"b": "1"}, {}]
    assert len(np.unique(features.encode(given).keys[:, 0])) == len(given)


NORMAL = {"name": "n", "normalise": {"mean": 0, "std": 1}}


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        pytest.param([VOCABULARY, BUCKET], "two features are named a", id="two of one name"),
        pytest.param([{"name": "a"}], "exactly one kind", id="no kind"),
        pytest.param([VOCABULARY | BUCKET], "exactly one kind", id="two kinds"),
        pytest.param([{"name": "a", "vocabulary": {"values": []}}], "values", id="no values"),
        pytest.param(
            [{"name": "a", "vocabulary": {"values": ["x", "x"]}}], "each once", id="a value twice"
        ),
        pytest.param(
            [{"name": "a", "vocabulary": {"values": ["x"], "missing": "y"}}],
            "must list 'y'",
            id="a stand-in that is not listed",
        ),
        pytest.param([{"name": "a", "bucket": {"boundaries": []}}], "rise", id="no boundaries"),
        pytest.param(
            [{"name": "a", "bucket": {"boundaries": [2, 1]}}], "rise", id="boundaries that fall"
        ),
        pytest.param(
            [{"name": "a", "bucket": {"boundaries": [1, 1]}}], "rise", id="a boundary twice"
        ),
        pytest.param([{"name": "a", "normalise": {}}], "either mean and std", id="no scale"),
        pytest.param([{"name": "a", "normalise": {"mean": 1}}], "either mean", id="half a scale"),
        pytest.param(
            [{"name": "a", "normalise": {"mean": 1, "std": 1, "min": 0, "max": 1}}],
            "either mean",
            id="two scales",
        ),
        pytest.param(
            [{"name": "a", "normalise": {"mean": 1, "std": 0}}], "std above 0", id="a std of 0"
        ),
        pytest.param(
            [{"name": "a", "normalise": {"min": 1, "max": 1}}], "below its max", id="min at max"
        ),
        pytest.param(
            [VOCABULARY, {"name": "x", "cross": {"of": ["a", "b"], "buckets": 5}}],
            "made of b, which is not there",
            id="a cross of what is not there",
        ),
        pytest.param(
            [VOCABULARY, {"name": "x", "cross": {"of": ["a", "a"], "buckets": 5}}],
            "each of its parts once",
            id="a cross of one feature twice",
        ),
        pytest.param(
            [VOCABULARY, NORMAL, {"name": "x", "cross": {"of": ["a", "n"], "buckets": 5}}],
            "cannot be made of n",
            id="a cross of a plain number",
        ),
        pytest.param(
            [
                VOCABULARY,
                BUCKET | {"name": "b"},
                {"name": "x", "cross": {"of": ["a", "b"], "buckets": 5}},
                {"name": "y", "cross": {"of": ["a", "x"], "buckets": 5}},
            ],
            "cannot be made of x",
            id="a cross of a cross",
        ),
        pytest.param([NORMAL | {"name": f"n{n}"} for n in range(33)], "at most 32", id="too many"),
    ],
)
def test_features_that_make_no_sense_are_refused(
    documents: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        ContextFeatures(make_features(*documents))
