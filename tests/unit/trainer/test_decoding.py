"""From records to columns: what is malformed is counted, never fatal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from millstream_api.manifest import CLICK_AND_CONVERSION
from millstream_core.features import PAD, ContextFeatures, key_of
from millstream_trainer.sources.decoding import decode
from tests.builders.features import make_features
from tests.builders.trainer import START, make_record


def without(field: str) -> dict[str, Any]:
    record = make_record()
    del record[field]
    return record


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        pytest.param(without("user_id"), "MissingField", id="no user"),
        pytest.param(without("item_id"), "MissingField", id="no item"),
        pytest.param(without("label"), "MissingField", id="no label"),
        pytest.param(without("event_time"), "MissingField", id="no time"),
        pytest.param({}, "MissingField", id="an empty object"),
        pytest.param(None, "NotAnObject", id="null"),
        pytest.param(7, "NotAnObject", id="a number"),
        pytest.param("user_id", "NotAnObject", id="a text"),
        pytest.param([1, 2], "NotAnObject", id="a list"),
        pytest.param(make_record(user_id=None), "WrongType", id="a user that is null"),
        pytest.param(make_record(user_id=1.5), "WrongType", id="a user that is a fraction"),
        pytest.param(make_record(item_id=True), "WrongType", id="an item that is a boolean"),
        pytest.param(make_record(item_id=[3]), "WrongType", id="an item that is a list"),
        pytest.param(make_record(item_id=b"3"), "WrongType", id="an item of bytes"),
        pytest.param(make_record(user_id=2**63), "IdOutOfRange", id="a user beyond 64 bits"),
        pytest.param(make_record(user_id=-(2**63)), "IdOutOfRange", id="the filler as a user"),
        pytest.param(make_record(item_id=PAD), "IdOutOfRange", id="the filler as an item"),
        pytest.param(make_record(item_id=str(PAD)), "IdOutOfRange", id="the filler as text"),
        pytest.param(make_record(item_id=""), "IdOutOfRange", id="an empty item"),
        pytest.param(make_record(item_id="x" * 1025), "IdOutOfRange", id="an endless item"),
        pytest.param(make_record(item_id="\ud800"), "IdOutOfRange", id="an item not in Unicode"),
        pytest.param(make_record(label=math.nan), "BadLabel", id="a label that is no number"),
        pytest.param(make_record(label=2), "BadLabel", id="a label of 2"),
        pytest.param(make_record(label=0.5), "BadLabel", id="a label of a half"),
        pytest.param(make_record(label=10**400), "BadLabel", id="an enormous label"),
        pytest.param(make_record(label="1"), "WrongType", id="a label as text"),
        pytest.param(make_record(label=None), "WrongType", id="a label that is null"),
        pytest.param(make_record(event_time=math.nan), "BadTime", id="a time that is no number"),
        pytest.param(make_record(event_time=math.inf), "BadTime", id="the end of time"),
        pytest.param(make_record(event_time=-1.0), "BadTime", id="a time before 1970"),
        pytest.param(make_record(event_time=START * 1000), "BadTime", id="a time in milliseconds"),
        pytest.param(make_record(event_time=10**400), "BadTime", id="an enormous time"),
        pytest.param(make_record(event_time="now"), "WrongType", id="a time as text"),
    ],
)
def test_a_malformed_record_is_counted_and_skipped(record: Any, reason: str) -> None:
    batch = decode([make_record(user_id=10), record, make_record(user_id=11)])
    assert batch.rejected == {reason: 1}
    assert batch.user.tolist() == [10, 11]
    assert len(batch) == 2


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(make_record(label=True), id="a label as a boolean"),
        pytest.param(make_record(label=1.0), id="a label as a float"),
        pytest.param(make_record(event_time=int(START)), id="a time in whole seconds"),
        pytest.param(make_record(extra="ignored"), id="a field nobody asked for"),
        pytest.param(make_record(user_id="1"), id="a decimal id as text"),
    ],
)
def test_harmless_variants_are_taken(record: dict[str, Any]) -> None:
    batch = decode([record])
    assert not batch.rejected
    assert (batch.user.tolist(), batch.item.tolist()) == ([1], [2])
    assert (batch.label.tolist(), batch.time.tolist()) == ([1.0], [START])


def test_textual_ids_become_the_keys_that_servers_use() -> None:
    batch = decode([make_record(user_id="ann", item_id="sku-1")])
    assert (batch.user[0], batch.item[0]) == (key_of("ann"), key_of("sku-1"))


def test_columns_have_the_promised_types() -> None:
    for records in ([], [make_record()], [make_record(), None], [None]):
        batch = decode(records)
        types = [batch.user.dtype, batch.item.dtype, batch.label.dtype, batch.time.dtype]
        assert types == [np.int64, np.int64, np.float32, np.float64]


def test_a_clean_batch_reads_the_same_as_record_by_record() -> None:
    """The fast way for clean batches and the careful way agree."""
    records = [
        make_record(user_id=user, item_id=-user, label=user % 2, event_time=START + user)
        for user in range(1, 50)
    ]
    fast, careful = decode(records), decode([*records, None])
    for column in ("user", "item", "label", "time"):
        np.testing.assert_array_equal(getattr(fast, column), getattr(careful, column))


FEATURES = ContextFeatures(make_features())


def test_contexts_become_what_the_features_make_of_them() -> None:
    contexts: list[dict[str, Any]] = [{"device": "web", "price": 3}, {}]
    records = [make_record(context=contexts[0]), make_record(), make_record(context=None)]
    for batch in (decode(records, FEATURES), decode([*records, None], FEATURES)):
        expected = FEATURES.encode([contexts[0], {}, {}])
        assert batch.context is not None
        np.testing.assert_array_equal(batch.context.keys, expected.keys)
        np.testing.assert_array_equal(batch.context.floats, expected.floats)


@pytest.mark.parametrize(
    "context",
    [
        pytest.param([], id="a list"),
        pytest.param("web", id="a text"),
        pytest.param({"device": True}, id="a boolean"),
        pytest.param({"device": ["web"]}, id="a value that is a list"),
        pytest.param({"device": "x" * 257}, id="an endless value"),
    ],
)
def test_a_malformed_context_is_counted_and_skipped(context: Any) -> None:
    """A server refuses the same: what could never be asked for must not be learned."""
    batch = decode([make_record(user_id=10), make_record(context=context)], FEATURES)
    assert batch.rejected == {"BadContext": 1}
    assert batch.user.tolist() == [10]


def test_what_no_feature_reads_is_not_looked_at() -> None:
    context = {f"n{number}": {"deep": True} for number in range(1000)} | {"device": "web"}
    batch = decode([make_record(context=context)], FEATURES)
    assert not batch.rejected
    batch = decode([make_record(context="no object")])
    assert not batch.rejected
    assert batch.context is None


def conversions_of(*records: Any) -> list[float] | None:
    batch = decode(records, tasks=CLICK_AND_CONVERSION)
    assert not batch.rejected
    return None if batch.conversion is None else batch.conversion.tolist()


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(make_record(conversion=1), 1.0, id="a click that is one"),
        pytest.param(make_record(conversion=0), 0.0, id="a click that is none"),
        pytest.param(make_record(), 0.0, id="a click that says nothing of one"),
        pytest.param(make_record(label=0), 0.0, id="no click"),
        pytest.param(make_record(label=0, conversion=0), 0.0, id="no click and therefore none"),
        pytest.param(make_record(conversion=True), 1.0, id="a boolean"),
        pytest.param(make_record(conversion=1.0, label=True), 1.0, id="a float"),
        pytest.param(make_record(conversion=False, label=0), 0.0, id="a boolean that is false"),
    ],
)
def test_a_conversion_is_read_where_it_is_a_task(record: dict[str, Any], expected: float) -> None:
    assert conversions_of(make_record(), record) == [0.0, expected]


@pytest.mark.parametrize(
    ("conversion", "label", "reason"),
    [
        pytest.param(1, 0, "ConversionWithoutClick", id="without a click"),
        pytest.param(True, False, "ConversionWithoutClick", id="without a click, as booleans"),
        pytest.param(2, 1, "BadLabel", id="of 2"),
        pytest.param(-1, 1, "BadLabel", id="of less than nothing"),
        pytest.param(0.5, 1, "BadLabel", id="of a half"),
        pytest.param(math.nan, 1, "BadLabel", id="that is no number"),
        pytest.param("1", 1, "WrongType", id="as text"),
        pytest.param(None, 1, "WrongType", id="that is null"),
    ],
)
def test_a_malformed_conversion_is_counted_and_skipped(
    conversion: Any, label: Any, reason: str
) -> None:
    bad = make_record(user_id=2, conversion=conversion, label=label)
    batch = decode([make_record(), bad], tasks=CLICK_AND_CONVERSION)
    assert batch.rejected == {reason: 1}
    assert batch.user.tolist() == [1]
    assert batch.conversion is not None
    assert batch.conversion.tolist() == [0.0]


def test_a_clean_batch_has_the_same_conversions_as_record_by_record() -> None:
    records = [make_record(label=n % 2, conversion=int(n % 4 == 1)) for n in range(9)]
    fast = decode(records, tasks=CLICK_AND_CONVERSION)
    careful = decode([*records, None], tasks=CLICK_AND_CONVERSION)
    assert fast.conversion is not None
    assert careful.conversion is not None
    assert fast.conversion.dtype == careful.conversion.dtype == np.float32
    assert fast.conversion.tolist() == careful.conversion.tolist() == [0, 1, 0, 0, 0, 1, 0, 0, 0]


def test_where_conversions_are_no_task_they_are_not_looked_at() -> None:
    batch = decode([make_record(conversion="whatever", label=0)])
    assert not batch.rejected
    assert batch.conversion is None


def test_no_event_has_no_conversion() -> None:
    for records in ([], [None]):
        batch = decode(records, tasks=CLICK_AND_CONVERSION)
        assert batch.conversion is not None
        assert (batch.conversion.dtype, len(batch.conversion)) == (np.float32, 0)
