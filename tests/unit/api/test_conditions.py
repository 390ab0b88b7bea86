"""Conditions: how they are merged, for any history of claims."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream_api.conditions import (
    MESSAGE_LIMIT,
    Claim,
    Condition,
    claim,
    fails,
    holds,
    merge,
    unclear,
)
from millstream_api.resources import at

CLAIMS = st.lists(
    st.builds(
        Claim,
        type=st.sampled_from(["Ready", "Available", "Paused"]),
        status=st.sampled_from(["True", "False", "Unknown"]),
        reason=st.sampled_from(["A", "B"]),
        message=st.text(max_size=5),
    ),
    unique_by=lambda each: each.type,
    max_size=3,
)


@given(st.lists(CLAIMS, max_size=12))
def test_times_move_exactly_with_the_status_and_no_type_comes_twice(history: list[list[Claim]]):
    known: tuple[Condition, ...] = ()
    since: dict[str, tuple[str, datetime]] = {}
    for step, claims in enumerate(history):
        now = at(1000.0 + step)
        known = merge(known, claims, generation=step, now=now)
        assert [each.type for each in known] == [each.type for each in claims]
        for each in known:
            before = since.get(each.type)
            expected = before[1] if before and before[0] == each.status else now
            assert each.last_transition_time == expected
            assert each.observed_generation == step
        since = {each.type: (each.status, each.last_transition_time) for each in known}


def test_two_claims_of_one_type_are_a_mistake():
    with pytest.raises(AssertionError, match="two claims of Ready"):
        merge((), [holds("Ready", "A"), fails("Ready", "B")], generation=1, now=at(1.0))


def test_a_long_message_is_cut_to_what_the_schema_takes():
    [found] = merge((), [holds("Ready", "A", "x" * 5000)], generation=1, now=at(1.0))
    assert len(found.message) == MESSAGE_LIMIT


def test_the_three_ways_to_claim():
    assert claim("Ready", known=True, reason="A") == holds("Ready", "A")
    assert claim("Ready", known=False, reason="A") == fails("Ready", "A")
    assert claim("Ready", known=None, reason="A") == unclear("Ready", "A")


def test_times_are_written_as_kubernetes_writes_them():
    [found] = merge((), [holds("Ready", "A")], generation=1, now=at(1_800_000_000.7))
    assert found.document()["lastTransitionTime"] == "2027-01-15T08:00:00Z"
