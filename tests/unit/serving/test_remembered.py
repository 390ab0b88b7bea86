"""Which answers are given again, to whom, and for how long."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest

from millstream_serving.ranking.answers import Asked, Outcome, Query
from millstream_serving.ranking.remembered import LONGEST, Remembered
from tests.builders.serving import make_ref

V1, V2 = make_ref(1), make_ref(2)


class Version(SimpleNamespace):
    """As much of a version as is looked at; like one, it is equal to nothing but itself."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def outcome(ref=V1, ids=(1, 2)):
    return Outcome(ref, list(ids), None, (), Asked(None, None, None))


ASKED = Query(7, None, k=10, context={"device": "web", "hour": 7})


def test_who_asks_again_is_told_the_same():
    version, remembered, said = Version(ref=V1), Remembered(), outcome()
    assert remembered.find(version, ASKED) is None
    remembered.keep(version, ASKED, said)
    again = Query(7, None, k=10, context={"hour": 7.0, "device": "web"})
    assert remembered.find(version, again) is said
    assert (remembered.hits, remembered.misses) == (1, 1)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Query(8, None, k=10, context=ASKED.context), id="another user"),
        pytest.param(Query(None, None, k=10, context=ASKED.context), id="no user"),
        pytest.param(Query(7, None, k=9, context=ASKED.context), id="another k"),
        pytest.param(Query(7, None, k=10, context={"device": "web"}), id="less of a context"),
        pytest.param(
            Query(7, None, k=10, context={"device": "web", "hour": "7"}), id="a text for a number"
        ),
        pytest.param(Query(7, (1, 2), k=10, context=ASKED.context), id="items of the caller's"),
        pytest.param(
            Query(7, None, history=(1,), k=10, context=ASKED.context),
            id="a caller's history",
        ),
    ],
)
def test_another_question_is_not_answered_by_it(other):
    version, remembered = Version(ref=V1), Remembered()
    remembered.keep(version, ASKED, outcome())
    assert remembered.find(version, other) is None
    remembered.keep(version, other, outcome(ids=(9,)))
    assert remembered.find(version, ASKED).ids == [1, 2]


def test_rankings_of_a_callers_items_are_neither_kept_nor_counted():
    version, remembered, query = Version(ref=V1), Remembered(), Query(7, (1, 2), k=2)
    remembered.keep(version, query, outcome())
    assert remembered.find(version, query) is None
    assert (remembered.hits, remembered.misses) == (0, 0)


@pytest.mark.parametrize("ref", [V1, V2], ids=["the same after an erasure", "the next one"])
def test_no_version_gives_the_answers_of_another(ref):
    version, other, remembered = Version(ref=V1), Version(ref=ref), Remembered()
    remembered.keep(version, ASKED, outcome())
    assert remembered.find(other, ASKED) is None


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(outcome(V2), id="given by the version to fall back on"),
        pytest.param(outcome(ids=()), id="none"),
        pytest.param(outcome(ids=range(LONGEST + 1)), id="longer than a few pages"),
    ],
)
def test_some_answers_are_not_kept(said):
    version, remembered = Version(ref=V1), Remembered()
    remembered.keep(version, ASKED, said)
    assert remembered.find(version, ASKED) is None


def test_the_answer_not_asked_for_longest_makes_room():
    version, remembered = Version(ref=V1), Remembered(most=2)
    first, second, third = (Query(user, None, k=1) for user in range(3))
    remembered.keep(version, first, outcome())
    remembered.keep(version, second, outcome())
    assert remembered.find(version, first)
    remembered.keep(version, third, outcome())
    assert remembered.find(version, first)
    assert remembered.find(version, second) is None
    assert remembered.find(version, third)


def test_answers_go_with_their_version():
    version, remembered = Version(ref=V1), Remembered()
    said = outcome()
    said.ids.append(mark := SimpleNamespace())
    remembered.keep(version, ASKED, said)
    del said, version
    gc.collect()
    assert gc.get_referrers(mark) == []
