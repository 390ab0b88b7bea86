"""Candidate against stable, and the queries they are compared on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking.answers import Asked
from millstream_serving.ranking.shadow import ENOUGH, compare, enough_queries
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, overflowing_dense, random_dense, random_rows

NONE = np.empty(0, np.int64)


def shifted(dense, by):
    return dense | {"head.2.bias": dense["head.2.bias"] + np.float32(by)}


def turned(dense):
    return dense | {f"head.2.{part}": -dense[f"head.2.{part}"] for part in ("weight", "bias")}


@pytest.fixture(scope="module")
def versions():
    publisher = Publisher(MemoryObjects())
    dense = random_dense(publisher.architecture)
    constant = dense | {"head.2.weight": np.zeros_like(dense["head.2.weight"])}
    weights = {
        "stable": dense,
        "same": dense,
        "shifted": shifted(dense, 3),
        "turned": turned(dense),
        "constant": constant,
        "overflowing": overflowing_dense(publisher.architecture),
    }
    publisher.publish(random_rows(publisher, 30, 40), dense=dense)
    refs = {name: publisher.publish(dense=dense) for name, dense in weights.items()}
    empty = Publisher(publisher.objects, lineage="ffff00")
    refs["empty"] = empty.publish({"item": random_rows(empty, 1, 7)["item"]}, popular=[])
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        for ref in (refs["overflowing"], refs["empty"]):
            shelf.load(ref, lambda _: True, lambda _: None)
    return {name: shelf.held[ref.digest] for name, ref in refs.items()}


def compared(versions, candidate, stable="stable"):
    queries = enough_queries([], versions[stable], 10)
    return compare(versions[candidate], versions[stable], queries, lambda: None)


def test_a_version_agrees_with_itself(versions):
    shadow = compared(versions, "same")
    assert shadow.correlation == pytest.approx(1)
    assert shadow.mean_shift == pytest.approx(0, abs=1e-6)
    assert shadow.nonfinite == 0
    assert shadow.drift == 0
    assert shadow.calibration == 1
    assert shadow.default_ratio == shadow.stable_default_ratio == 0
    assert (shadow.candidate, shadow.stable) == (
        versions["same"].ref.digest,
        versions["stable"].ref.digest,
    )


def test_a_turned_sign_shows_as_correlation(versions):
    assert compared(versions, "turned").correlation == pytest.approx(-1)


def test_a_shift_of_all_scores_shows_in_standard_deviations_of_stable(versions):
    shadow = compared(versions, "shifted")
    queries = enough_queries([], versions["stable"], 10)
    logits = np.concatenate(
        [versions["stable"].logits(q.user, q.items, q.history, ScratchPad()) for q in queries]
    )
    assert shadow.correlation == pytest.approx(1)
    assert shadow.mean_shift == pytest.approx(3 / logits.astype(np.float64).std(), rel=1e-4)


def test_a_candidate_that_tells_no_items_apart_correlates_with_nothing(versions):
    assert compared(versions, "constant").correlation == 0


def test_a_stable_that_tells_no_items_apart_says_nothing_about_correlation(versions):
    assert compared(versions, "same", stable="constant").correlation is None


def test_scores_that_are_not_finite_are_counted_and_nothing_else_breaks(versions):
    shadow = compared(versions, "overflowing")
    assert shadow.nonfinite == shadow.scores > 0
    assert shadow.correlation is None
    assert shadow.mean_shift == 0


def test_keys_without_a_row_are_counted_on_both_sides(versions):
    queries = [Asked(None, np.array([1000, 1001, 7]), np.array([8])), Asked(1, np.array([9]), NONE)]
    shadow = compare(versions["same"], versions["empty"], queries, lambda: None)
    assert shadow.default_ratio == 3 / 6  # items 7, 8 and 9
    assert shadow.stable_default_ratio == 4 / 6  # and the user


def test_nothing_asked_has_no_ratio(versions):
    shadow = compare(versions["same"], versions["stable"], [], lambda: None)
    assert (shadow.default_ratio, shadow.drift, shadow.calibration) == (None, None, None)


def test_a_comparison_that_is_over_ends_early(versions):
    rests = iter([None])
    queries = enough_queries([], versions["stable"], 10)
    with pytest.raises(StopIteration):
        compare(versions["same"], versions["stable"], queries, lambda: next(rests))


def test_enough_recorded_queries_are_taken_as_they_are(versions):
    recorded = [Asked(1, np.array([1000]), np.array([1001]))] * ENOUGH
    assert enough_queries(recorded, versions["stable"], 10) == recorded


def test_few_recorded_queries_are_filled_up_always_alike(versions):
    recorded = [Asked(1, np.array([1000]), np.array([1001]))] * 3
    first, second = (enough_queries(recorded, versions["stable"], 10) for _ in range(2))
    assert len(first) == ENOUGH
    assert first[:3] == recorded
    assert [query.user for query in first[3:]] == list(range(ENOUGH - 3))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.items, other.items)


def test_a_version_without_users_and_proposals_is_compared_on_its_items(versions):
    queries = enough_queries([], versions["empty"], 5)
    assert len(queries) == ENOUGH
    assert all(query.user is None for query in queries)
    assert all(sorted(query.items.tolist()) == [1000, 1001, 1002, 1003, 1004] for query in queries)
