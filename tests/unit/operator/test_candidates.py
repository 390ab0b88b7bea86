"""Which version is next, of lines that are good, bad and foreign."""

from __future__ import annotations

import pytest

from millstream_api.manifest import VersionRef
from millstream_operator.decide.candidates import decide_next
from tests.builders.operator import AWAY, make_published, make_store
from tests.builders.resources import make_ref

# the line newest first, stable, quarantined, the next one, the lane, the reason
LINES: dict[str, tuple[list[int], int | None, list[int], int | None, str, str]] = {
    "the first version": ([3], None, [], 3, "Base", "NewVersionDetected"),
    "the newest is served": ([3], 3, [], None, "Base", "AsAsked"),
    "a child of stable": ([4, 3], 3, [], 4, "Delta", "NewVersionDetected"),
    "a grandchild": ([5, 4, 3], 3, [], 5, "Delta", "NewVersionDetected"),
    "the newest is bad": ([4, 3], 3, [4], None, "Base", "LineageBlocked"),
    "it stands on a bad one": ([5, 4, 3], 3, [4], None, "Base", "LineageBlocked"),
    "a good one lies before the bad one": ([6, 5, 4, 3], 3, [5], 4, "Delta", "NewVersionDetected"),
    "of two bad ones the older counts": (
        [7, 6, 5, 4, 3],
        3,
        [6, 5],
        4,
        "Delta",
        "NewVersionDetected",
    ),
    "both bad down to stable": ([5, 4, 3], 3, [5, 4], None, "Base", "LineageBlocked"),
    "no stable, and the first was bad": ([1], None, [1], None, "Base", "LineageBlocked"),
    "no stable, and it stands on a bad one": ([2, 1], None, [1], None, "Base", "LineageBlocked"),
    "no stable, and a good one lies before the bad": (
        [3, 2, 1],
        None,
        [2],
        1,
        "Base",
        "NewVersionDetected",
    ),
    "older than stable": ([2, 1], 3, [], None, "Base", "AsAsked"),
}


@pytest.mark.parametrize(
    ("line", "stable", "bad", "chosen", "lane", "reason"), LINES.values(), ids=LINES
)
def test_of_one_line(
    line: list[int], stable: int | None, bad: list[int], chosen: int | None, lane: str, reason: str
):
    found = decide_next(
        make_store(*line),
        None if stable is None else make_ref(stable),
        [make_ref(version).digest for version in bad],
    )
    assert (found.version.ref.version if found.version else None) == chosen
    assert found.why.reason == reason
    if chosen is not None:
        assert found.lane == lane


def test_those_between_are_passed_over_newest_first():
    found = decide_next(make_store(6, 5, 4, 3), make_ref(3), [])
    assert found.passed_over == (make_ref(5), make_ref(4))


def foreign(version: int) -> VersionRef:
    return make_ref(version, "another-line")


def test_a_new_line_is_next_on_the_base_lane_whatever_its_number():
    store = make_store(make_published(1, ref=foreign(1)))
    found = decide_next(store, make_ref(30), [])
    assert found.version is not None
    assert (found.version.ref, found.lane) == (foreign(1), "Base")
    assert found.passed_over == ()


def test_a_new_line_that_began_on_a_bad_version_is_blocked():
    store = make_store(make_published(1, ref=foreign(1)), 7)
    found = decide_next(store, make_ref(6), [make_ref(7).digest])
    assert found.version is None
    assert "learned on version 7, which was taken back" in found.why.message


def test_nothing_old_is_dug_up_from_behind_a_bad_version_of_another_line():
    store = make_store(make_published(1, ref=foreign(1)), 7, 3)
    assert decide_next(store, make_ref(6), [make_ref(7).digest]).version is None


def test_a_line_that_branched_off_before_stable_goes_on():
    """After a rollback the trainer goes on from the parent of what was bad."""
    found = decide_next(make_store(9, 5, 4), make_ref(5), [make_ref(8).digest])
    assert found.version is not None
    assert found.version.ref == make_ref(9)


def test_a_store_that_is_away_gives_no_version_and_its_reason():
    found = decide_next(AWAY, make_ref(1), [])
    assert (found.version, found.why.reason) == (None, "Unreachable")
