"""When numbers speak against a candidate, when for it, and when not at all."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_api.recserving import LaneSpec
from millstream_api.release import Release
from millstream_operator.decide.verdicts import judge_counters, judge_shadows, tally
from tests.builders.resources import make_counters, make_ref, make_report, make_shadow

CANDIDATE, STABLE = make_ref(2), make_ref(1)
RELEASE = Release(epoch=5, salt="s", stable=STABLE, candidate=CANDIDATE, advanced=1, mode="Gray")

# what the candidate counted, what stable counted, the outcome, the reason
COUNTED: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str, str]] = {
    "as good as stable": ({}, {}, "Passed", "AnalysisPassed"),
    "no request yet": ({"requests": 0}, {}, "Inconclusive", "AnalysisInconclusive"),
    "nine requests of ten": ({"requests": 9}, {}, "Inconclusive", "AnalysisInconclusive"),
    "ten requests of ten": ({"requests": 10}, {}, "Passed", "AnalysisPassed"),
    "one non-finite score among many": ({"nonfinite": 1}, {}, "Failed", "NonFiniteScores"),
    "one non-finite score and too few requests": (
        {"requests": 2, "nonfinite": 1},
        {},
        "Failed",
        "NonFiniteScores",
    ),
    "one error in five requests is chance": (
        {"requests": 5, "errors": 1},
        {},
        "Inconclusive",
        "AnalysisInconclusive",
    ),
    "the same share of five thousand is not": (
        {"requests": 5000, "errors": 1000},
        {},
        "Failed",
        "ErrorRatioExceeded",
    ),
    "two errors in three requests are not": (
        {"requests": 3, "errors": 2},
        {},
        "Failed",
        "ErrorRatioExceeded",
    ),
    "one error in ten requests is not enough for a verdict": (
        {"requests": 10, "errors": 1},
        {},
        "Inconclusive",
        "AnalysisInconclusive",
    ),
    "as many errors as stable": ({"errors": 300}, {"errors": 300}, "Passed", "AnalysisPassed"),
    "errors within what is allowed": ({"errors": 9}, {}, "Passed", "AnalysisPassed"),
    "a few more errors than allowed may be chance": (
        {"errors": 15},
        {},
        "Inconclusive",
        "AnalysisInconclusive",
    ),
    "scores elsewhere": ({"score_mean": 0.6}, {}, "Failed", "ScoreShiftExceeded"),
    "scores elsewhere on the other side": ({"score_mean": 0.0}, {}, "Failed", "ScoreShiftExceeded"),
    "scores elsewhere on few requests": (
        {"requests": 10, "score_mean": 0.45},
        {},
        "Inconclusive",
        "AnalysisInconclusive",
    ),
    "scores nearly one deviation away": ({"score_mean": 0.39}, {}, "Passed", "AnalysisPassed"),
    "scores that are much alike, a little elsewhere": (
        {"score_mean": 0.601},
        {"score_mean": 0.62, "score_std": 0.0177},
        "Passed",
        "AnalysisPassed",
    ),
    "a young model that learns how often users click": (
        {"score_mean": 0.29},
        {"score_mean": 0.25, "score_std": 0.02},
        "Passed",
        "AnalysisPassed",
    ),
    "scores that are all alike, far away": (
        {"score_mean": 0.9},
        {"score_std": 0.0},
        "Failed",
        "ScoreShiftExceeded",
    ),
    "no scores but zero": (
        {"score_mean": 0.9},
        {"score_mean": 0.0, "score_std": 0.0},
        "Passed",
        "AnalysisPassed",
    ),
    "a slow tail": ({"latency_ms_p99": 60.0}, {}, "Failed", "LatencyRatioExceeded"),
    "a slow tail of a fast model is noise": (
        {"latency_ms_p99": 9.0},
        {"latency_ms_p99": 1.0},
        "Passed",
        "AnalysisPassed",
    ),
    "a slow tail of less than a thousand requests is no tail": (
        {"requests": 999, "latency_ms_p99": 60.0},
        {},
        "Passed",
        "AnalysisPassed",
    ),
    "a slow tail where stable has hardly any requests": (
        {"latency_ms_p99": 60.0},
        {"requests": 999},
        "Passed",
        "AnalysisPassed",
    ),
    "nothing of stable to compare with": ({}, None, "Passed", "AnalysisPassed"),
    "scores unknown": ({"score_mean": None, "score_std": None}, {}, "Passed", "AnalysisPassed"),
}


@pytest.mark.parametrize(("tried", "known", "outcome", "reason"), COUNTED.values(), ids=COUNTED)
def test_counters(tried: dict[str, Any], known: dict[str, Any] | None, outcome: str, reason: str):
    counters = {CANDIDATE.digest: make_counters(**tried)}
    if known is not None:
        counters[STABLE.digest] = make_counters(**known)
    report = make_report(RELEASE, counters=counters)
    verdict = judge_counters([report], CANDIDATE.digest, STABLE.digest, "s", LaneSpec())
    assert (verdict.outcome, verdict.finding.reason) == (outcome, reason)


def test_replicas_are_judged_together():
    """Five requests each are ten."""
    reports = [
        make_report(
            RELEASE,
            name,
            counters={
                CANDIDATE.digest: make_counters(requests=5),
                STABLE.digest: make_counters(),
            },
        )
        for name in ("a", "b")
    ]
    verdict = judge_counters(reports, CANDIDATE.digest, STABLE.digest, "s", LaneSpec())
    assert verdict.outcome == "Passed"


def test_counts_of_another_rollout_do_not_count():
    report = make_report(
        RELEASE, counters={CANDIDATE.digest: make_counters(nonfinite=9)}, salt="an earlier one"
    )
    verdict = judge_counters([report], CANDIDATE.digest, STABLE.digest, "s", LaneSpec())
    assert verdict.outcome == "Inconclusive"


def test_with_no_least_number_of_requests_none_is_enough():
    lane = LaneSpec(min_requests=0)
    verdict = judge_counters([], CANDIDATE.digest, STABLE.digest, "s", lane)
    assert verdict.outcome == "Passed"


def test_spreads_are_pooled_around_the_common_mean():
    found = tally(
        [
            make_counters(requests=100, score_mean=0.0, score_std=1.0),
            make_counters(requests=300, score_mean=4.0, score_std=1.0),
        ]
    )
    assert found.score_mean == pytest.approx(3.0)
    assert found.score_std == pytest.approx((1 + 3 * 1) ** 0.5)
    assert found.requests == 400


SHADOWS: dict[str, tuple[list[dict[str, Any]], str, str]] = {
    "nothing recorded": ([{"requests": 0, "correlation": None}], "Passed", "AnalysisPassed"),
    "no shadow at all": ([], "Passed", "AnalysisPassed"),
    "as stable": ([{}], "Passed", "AnalysisPassed"),
    "one score that is not finite": ([{}, {"nonfinite": 1}], "Failed", "NonFiniteScores"),
    "not finite, with next to nothing recorded": (
        [{"requests": 1, "nonfinite": 1}],
        "Failed",
        "NonFiniteScores",
    ),
    "shifted up": ([{"mean_shift": 1.2}], "Failed", "ScoreShiftExceeded"),
    "shifted down": ([{"mean_shift": -1.2}], "Failed", "ScoreShiftExceeded"),
    "shifted on three requests": (
        [{"requests": 3, "mean_shift": 9.0}],
        "Passed",
        "AnalysisPassed",
    ),
    "turned round": ([{"correlation": -0.7}], "Failed", "ScoreCorrelationLow"),
    "rows lost": (
        [{"default_ratio": 0.35, "stable_default_ratio": 0.2}],
        "Failed",
        "DefaultRatioExceeded",
    ),
    "a few rows lost": (
        [{"default_ratio": 0.25, "stable_default_ratio": 0.2}],
        "Passed",
        "AnalysisPassed",
    ),
    "as many keys unknown as to stable": (
        [{"default_ratio": 0.9, "stable_default_ratio": 0.9}],
        "Passed",
        "AnalysisPassed",
    ),
    "rows lost on three requests": (
        [{"requests": 3, "default_ratio": 0.9, "stable_default_ratio": 0.0}],
        "Passed",
        "AnalysisPassed",
    ),
    "servers that do not count rows yet": (
        [{"default_ratio": None, "stable_default_ratio": None}],
        "Passed",
        "AnalysisPassed",
    ),
    "stable's clicks ranked much worse": (
        [{"golden_auc": 0.64, "stable_golden_auc": 0.7}],
        "Failed",
        "GoldenAUCDropped",
    ),
    "stable's clicks ranked a little worse": (
        [{"golden_auc": 0.66, "stable_golden_auc": 0.7}],
        "Passed",
        "AnalysisPassed",
    ),
    "stable's clicks ranked worse, and no requests": (
        [{"requests": 0, "golden_auc": 0.5, "stable_golden_auc": 0.7}],
        "Failed",
        "GoldenAUCDropped",
    ),
    "a stable without golden events": (
        [{"golden_auc": None, "stable_golden_auc": None}],
        "Passed",
        "AnalysisPassed",
    ),
    "no spread to correlate": ([{"correlation": None}], "Passed", "AnalysisPassed"),
    "weighed by requests": (
        [{"requests": 1000}, {"requests": 10, "correlation": -1.0}],
        "Passed",
        "AnalysisPassed",
    ),
}


@pytest.mark.parametrize(("shadows", "outcome", "reason"), SHADOWS.values(), ids=SHADOWS)
def test_shadows(shadows: list[dict[str, Any]], outcome: str, reason: str):
    found = [make_shadow(CANDIDATE, STABLE, **fields) for fields in shadows]
    verdict = judge_shadows(found, LaneSpec())
    assert (verdict.outcome, verdict.finding.reason) == (outcome, reason)
