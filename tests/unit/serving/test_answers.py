"""What a query is answered with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_serving.engine.best import best_of, probabilities
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.features.store import VersionedHistory
from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking.answers import IdOutOfRange, Query, answer, proposals
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, history_row, overflowing_dense, random_rows

POPULAR = 4


@pytest.fixture(scope="module")
def versions():
    """Two good versions and one whose scores overflow, by name."""
    publisher = Publisher(MemoryObjects())
    rows = random_rows(publisher, 5, 10)
    rows["history"][1] = history_row(publisher.architecture, [1000, 1001])
    refs = {
        "stable": publisher.publish(
            rows, popular=[1000, 1002, 1003, 1004, 1005], newest=[1003, 1009]
        ),
        "candidate": publisher.publish({"user": random_rows(publisher, 5, 1, seed=8)["user"]}),
        "overflowing": publisher.publish(dense=overflowing_dense(publisher.architecture)),
    }
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(refs["overflowing"], lambda _: True, lambda _: None)
    return {name: shelf.held[ref.digest] for name, ref in refs.items()}


def ask(query, *in_turn):
    return answer(query, in_turn, VersionedHistory(), POPULAR, ScratchPad())


def test_the_best_come_first_and_k_cuts_the_rest(versions):
    items = tuple(range(1000, 1010))
    everything = ask(Query(3, items), versions["stable"])
    assert sorted(everything.ids) == sorted(items)
    assert (np.diff(everything.best.scores) <= 0).all()
    best = ask(Query(3, items, k=3), versions["stable"])
    assert best.ids == everything.ids[:3]


def test_scores_are_probabilities_of_the_logits_of_the_version(versions):
    version = versions["stable"]
    got = ask(Query(3, (1001, 1002)), version)
    logits = version.logits(3, np.array(got.ids), version.history_of(3), ScratchPad())
    np.testing.assert_allclose(got.best.scores, 1 / (1 + np.exp(-logits.astype(np.float64))))


def test_ids_come_back_as_they_were_sent(versions):
    got = ask(Query("3", ("1001", 1002, "a text", "1001")), versions["stable"])
    assert sorted(map(repr, got.ids)) == sorted(map(repr, ("1001", 1002, "a text", "1001")))


def test_an_id_is_the_same_as_number_and_as_text(versions):
    as_text = ask(Query("3", ("1001", "1002")), versions["stable"])
    as_number = ask(Query(3, (1001, 1002)), versions["stable"])
    np.testing.assert_array_equal(as_text.best.scores, as_number.best.scores)


def test_a_history_in_the_query_takes_the_place_of_the_stored_one(versions):
    stored = ask(Query(1, (1005,)), versions["stable"])
    same = ask(Query(1, (1005,), history=(1000, 1001)), versions["stable"])
    none = ask(Query(1, (1005,), history=()), versions["stable"])
    assert stored.best.scores == same.best.scores
    assert stored.best.scores != none.best.scores


def test_of_a_long_history_the_last_items_count(versions):
    long = ask(
        Query(1, (1005,), history=(1007,) * 100 + (1, 1000, 1001, 1002, 1003)), versions["stable"]
    )
    last = ask(Query(1, (1005,), history=(1, 1000, 1001, 1002, 1003)), versions["stable"])
    assert long.best.scores == last.best.scores


@pytest.mark.parametrize("user", [None, 99, "nobody"])
def test_an_unknown_user_is_answered(versions, user):
    got = ask(Query(user, (1001, 5, "unknown item")), versions["stable"])
    assert len(got.ids) == 3
    assert np.isfinite(got.best.scores).all()


def test_an_id_outside_the_range_of_keys_is_said_so(versions):
    with pytest.raises(IdOutOfRange, match="outside the range"):
        ask(Query(1, (2**63,)), versions["stable"])


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        pytest.param([], [1000, 1002, 1003, 1004, 1009], id="popular ones first, each once"),
        pytest.param([1000, 1003], [1002, 1004, 1009], id="without what the user has seen"),
        pytest.param(
            [1000, 1002, 1003, 1004, 1009],
            [1000, 1002, 1003, 1004, 1009],
            id="all of them for one who has seen all",
        ),
    ],
)
def test_a_version_proposes_its_popular_and_new_items(versions, history, wanted):
    """R27, of lists in place of an index: they come with the version that ranks them."""
    got = proposals(versions["stable"], np.array(history, np.int64), POPULAR)
    assert got.tolist() == wanted


def test_a_recommendation_ranks_the_proposals(versions):
    got = ask(Query(1, None, k=2), versions["stable"])
    assert len(got.ids) == 2
    assert set(got.ids) <= {1002, 1003, 1004, 1009}


def test_scores_that_are_not_finite_give_way_to_the_next_version(versions):
    got = ask(Query(3, (1001, 1002)), versions["overflowing"], versions["stable"])
    assert got.version == versions["stable"].ref
    assert got.nonfinite == ((versions["overflowing"].ref, 2),)
    assert np.isfinite(got.best.scores).all()


def test_without_another_version_there_is_no_answer(versions):
    got = ask(Query(3, (1001, 1002)), versions["overflowing"])
    assert got.best is None
    assert got.ids == []
    assert got.nonfinite == ((versions["overflowing"].ref, 2),)


@pytest.mark.parametrize(
    ("logit", "score"), [(0, 0.5), (-1000, 0.0), (1000, 1.0), (3.4e38, 1.0), (-3.4e38, 0.0)]
)
def test_no_finite_logit_makes_a_score_that_is_none(logit, score):
    logits = np.array([logit], np.float32)
    assert best_of(logits, None).scores == [score]
    assert probabilities(logits)[0] == score


@pytest.mark.parametrize(
    ("logits", "count", "places"),
    [
        pytest.param([1, 3, 2], None, [1, 2, 0], id="all of them, the best first"),
        pytest.param([1, 3, 2], 2, [1, 2], id="as many as are asked for"),
        pytest.param([1, 3, 2], 9, [1, 2, 0], id="more than there are"),
        pytest.param([2, 5, 5, 2, 5], 4, [1, 2, 4, 0], id="equal ones in their order"),
        pytest.param([0.0, -0.0], 2, [0, 1], id="two zeros are equal"),
        pytest.param([], None, [], id="none at all"),
    ],
)
def test_the_best_of_some_logits(logits, count, places):
    best = best_of(np.array(logits, np.float32), count)
    assert best.places == places
    assert best.total == pytest.approx(sum(best.scores))
    assert best.squares == pytest.approx(sum(score**2 for score in best.scores))


@pytest.mark.parametrize("count", [1, 10, 100])
def test_the_best_of_many_are_those_of_a_stable_sort(count):
    logits = np.random.default_rng(count).integers(0, 40, 100).astype(np.float32)
    wanted = np.argsort(-logits, kind="stable")[:count]
    assert best_of(logits, count).places == wanted.tolist()


def test_logits_that_are_not_finite_are_counted_instead():
    assert best_of(np.array([1, np.nan, np.inf, -np.inf, 0], np.float32), 2) == 3
