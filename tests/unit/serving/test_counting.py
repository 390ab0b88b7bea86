"""Histograms, and the two books of counters."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_serving.engine.best import Best
from millstream_serving.ranking.answers import Asked, Outcome
from millstream_serving.ranking.histograms import AGES, LATENCIES, Histogram
from millstream_serving.ranking.tallies import Tallies
from tests.builders.serving import make_ref

V1, V2 = make_ref(1), make_ref(2)
NOTHING = Asked(None, np.empty(0, np.int64), np.empty(0, np.int64))


def test_an_empty_histogram_has_no_quantiles():
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_quantiles_are_right_within_a_class(share):
    latencies = np.random.default_rng(0).lognormal(-6, 1, 10_000)
    histogram = Histogram()
    for seconds in latencies:
        histogram.add(float(seconds))
    assert histogram.quantile(share) == pytest.approx(np.quantile(latencies, share), rel=0.1)


@pytest.mark.parametrize("bounds", [LATENCIES, AGES], ids=["latencies", "ages"])
@pytest.mark.parametrize("place", [0, 5, -1, None])
def test_every_value_has_a_class_that_reaches_it(bounds, place):
    seconds = 1e9 if place is None else bounds[place]
    histogram = Histogram(bounds)
    histogram.add(seconds)
    [found] = np.nonzero(histogram.counts)[0]
    assert seconds <= bounds[found] or found == len(bounds) - 1
    assert found == 0 or bounds[found - 1] < seconds


def outcome(version, scores, nonfinite=()):
    best = None
    if scores is not None:
        best = Best([], scores, sum(scores), sum(score**2 for score in scores))
    return Outcome(version, [], best, nonfinite, NOTHING)


def test_counters_tell_versions_apart():
    tallies = Tallies()
    tallies.keep("salt", {V1.digest, V2.digest})
    tallies.count("stable", V1.digest, 200, 0.002)
    tallies.weigh(outcome(V1, [0.2, 0.4]))
    tallies.count("candidate", V2.digest, 500, 0.1)
    tallies.weigh(outcome(V2, None, ((V2, 2),)))

    stable, candidate = (tallies.counters()[ref.digest] for ref in (V1, V2))
    assert (stable.requests, stable.errors, stable.nonfinite) == (1, 0, 0)
    assert stable.latency_ms_p50 == pytest.approx(2, rel=0.2)
    assert stable.score_mean == pytest.approx(0.3)
    assert stable.score_std == pytest.approx(0.1)
    assert (candidate.requests, candidate.errors, candidate.nonfinite) == (1, 1, 2)
    assert candidate.score_mean is None


def test_a_candidate_that_failed_is_counted_although_stable_answered():
    tallies = Tallies()
    tallies.keep("salt", {V1.digest, V2.digest})
    tallies.count("stable", V1.digest, 200, 0.002)
    tallies.weigh(outcome(V1, [0.2], ((V2, 1),)))
    assert tallies.counters()[V2.digest].nonfinite == 1
    assert tallies.counters()[V1.digest].requests == 1


def test_a_new_salt_begins_a_new_book_for_the_operator_but_not_for_prometheus():
    tallies = Tallies()
    tallies.keep("salt", {V1.digest})
    tallies.count("stable", V1.digest, 200, 0.002)
    tallies.keep("salt", {V1.digest, V2.digest})
    assert tallies.counters()[V1.digest].requests == 1
    tallies.keep("another salt", {V1.digest, V2.digest})
    assert tallies.counters()[V1.digest].requests == 0
    assert tallies.traffic().requests["stable", V1.digest, 200] == 1


def test_both_books_forget_versions_that_are_no_longer_held():
    tallies = Tallies()
    tallies.keep("salt", {V1.digest, V2.digest})
    for ref in (V1, V2):
        tallies.count("stable", ref.digest, 200, 0.002)
        tallies.date("stable", ref.digest, 30.0)
    tallies.count("none", "", 400, 0.001)
    tallies.keep("salt", {V2.digest})
    assert set(tallies.counters()) == {V2.digest}
    assert {key[1] for key in tallies.traffic().requests} == {V2.digest, ""}
    assert {key[1] for key in tallies.traffic().latency} == {V2.digest, ""}
    assert {key[1] for key in tallies.traffic().ages} == {V2.digest}


def test_nothing_is_lost_where_lanes_count_at_the_same_time():
    tallies = Tallies()
    tallies.keep("salt", {V1.digest})

    def count(_):
        for _ in range(2000):
            tallies.count("stable", V1.digest, 200, 0.002)
            tallies.count_late()
            tallies.count_unkeyed()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as lanes:
            list(lanes.map(count, range(4)))
    finally:
        sys.setswitchinterval(before)
    traffic = tallies.traffic()
    assert traffic.requests["stable", V1.digest, 200] == 8000
    assert traffic.latency["stable", V1.digest].total == 8000
    assert (traffic.late, traffic.unkeyed) == (8000, 8000)
    assert tallies.counters()[V1.digest].requests == 8000


def test_an_answer_of_a_version_that_went_meanwhile_is_not_counted_for_anybody():
    tallies = Tallies()
    tallies.keep("salt", set())
    tallies.count("previous", V1.digest, 200, 0.002)
    tallies.weigh(outcome(V1, [0.1]))
    assert tallies.counters() == {}
