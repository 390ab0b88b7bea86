"""Is the candidate as good as stable? Judged on what the replicas have counted themselves.

Each check is named for the fault it finds and sees the sums over all replicas. A verdict has
three values: a check may find a fault, or be unable to tell, and only a fault takes a version
back. Ratios of few requests are mostly noise, so a fault must lie beyond what chance explains
(three standard errors); between the limit and that, the check is inconclusive and the rollout
holds. Shadow results are judged the same way before a user sees the candidate.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Final, Literal

from millstream_api.conditions import Reason
from millstream_operator.decide.observed import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from millstream_api.recserving import LaneSpec
    from millstream_api.reports import Counters, ReplicaReport, Shadow

SIGMAS: Final = 3.0
# Of fewer requests the slowest hundredth is one stall of the machine, not a property of a version.
REQUESTS_FOR_P99: Final = 1000
# Where all users are new, all get much the same scores, and the smallest change is many of their
# standard deviations; and a model that is minutes old still finds out how often users click at
# all. By a quarter of the mean, scores may move from one version to the next.
LEAST_SPREAD: Final = 0.25
LATENCY_NOISE_MS: Final = 20.0  # a slower p99 within this is the machine, not the model


@dataclass(frozen=True)
class Verdict:
    """What the data says of the candidate."""

    outcome: Literal["Passed", "Failed", "Inconclusive"]
    finding: Finding


@dataclass(frozen=True)
class Tally:
    """One version's counters over all replicas."""

    requests: int = 0
    errors: int = 0
    nonfinite: int = 0
    p99_ms: float | None = None  # mean over replicas, by requests
    score_mean: float | None = None
    score_std: float | None = None

    @property
    def error_ratio(self) -> float:
        """Share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


def tally(counters: Iterable[Counters]) -> Tally:
    """Sum counters of one version over replicas; spreads are pooled around the common mean."""
    found = list(counters)
    scored = [
        (each.requests, each.score_mean, each.score_std)
        for each in found
        if each.requests and each.score_mean is not None and each.score_std is not None
    ]
    weight = sum(requests for requests, _, _ in scored)
    mean = sum(requests * mu for requests, mu, _ in scored) / weight if weight else None
    std = None
    if mean is not None:
        variance = sum(n * (sd * sd + (mu - mean) ** 2) for n, mu, sd in scored) / weight
        std = sqrt(variance)
    timed = [
        (each.requests, each.latency_ms_p99)
        for each in found
        if each.requests and each.latency_ms_p99 is not None
    ]
    timed_weight = sum(requests for requests, _ in timed)
    return Tally(
        requests=sum(each.requests for each in found),
        errors=sum(each.errors for each in found),
        nonfinite=sum(each.nonfinite for each in found),
        p99_ms=sum(n * ms for n, ms in timed) / timed_weight if timed_weight else None,
        score_mean=mean,
        score_std=std,
    )


def _failed(reason: str, message: str) -> Verdict:
    return Verdict("Failed", Finding(reason, message))


def _unsure(message: str) -> Verdict:
    return Verdict("Inconclusive", Finding(Reason.ANALYSIS_INCONCLUSIVE, message))


def nonfinite_scores(candidate: Tally, _stable: Tally, _lane: LaneSpec) -> Verdict | None:
    """One score that is not a number is a fault: stable never computes one."""
    if candidate.nonfinite:
        return _failed(
            Reason.NONFINITE_SCORES,
            f"{candidate.nonfinite} scores were not finite (they were not sent)",
        )
    return None


def failing_requests(candidate: Tally, stable: Tally, lane: LaneSpec) -> Verdict | None:
    """More errors than stable's share plus what is allowed."""
    if not candidate.errors:
        return None
    allowed = min(1.0, stable.error_ratio + lane.max_error_ratio)
    if candidate.error_ratio <= allowed:
        return None
    expected = candidate.requests * allowed
    chance = SIGMAS * sqrt(candidate.requests * allowed * (1 - allowed))
    told = (
        f"{candidate.errors} of {candidate.requests} requests failed,"
        f" {allowed:.2%} are allowed (stable fails {stable.error_ratio:.2%})"
    )
    if candidate.errors > max(1.0, expected + chance):
        return _failed(Reason.ERROR_RATIO_EXCEEDED, told)
    return _unsure("more requests fail than are allowed, though too few for a verdict")


def shifted_scores(candidate: Tally, stable: Tally, lane: LaneSpec) -> Verdict | None:
    """Scores that lie elsewhere than stable's over the same time."""
    if candidate.score_mean is None or stable.score_mean is None or stable.score_std is None:
        return None
    spread = max(stable.score_std, LEAST_SPREAD * abs(stable.score_mean))
    if not spread:
        return None
    shift = abs(candidate.score_mean - stable.score_mean) / spread
    chance = SIGMAS * sqrt(1 / candidate.requests + 1 / stable.requests)
    if shift <= lane.max_score_shift:
        return None
    if shift > lane.max_score_shift + chance:
        return _failed(
            Reason.SCORE_SHIFT_EXCEEDED,
            f"mean scores moved by {shift:.2f} times the spread of stable's,"
            f" {lane.max_score_shift:g} times are allowed",
        )
    return _unsure("scores moved further than is allowed, though on too few requests for a verdict")


def slow_answers(candidate: Tally, stable: Tally, lane: LaneSpec) -> Verdict | None:
    """A p99 latency several times that of stable, where both have enough requests to have one."""
    if candidate.p99_ms is None or stable.p99_ms is None:
        return None
    if min(candidate.requests, stable.requests) < REQUESTS_FOR_P99:
        return None
    if candidate.p99_ms <= max(
        stable.p99_ms * lane.max_latency_ratio, stable.p99_ms + LATENCY_NOISE_MS
    ):
        return None
    return _failed(
        Reason.LATENCY_RATIO_EXCEEDED,
        f"p99 latency is {candidate.p99_ms:.1f} ms against {stable.p99_ms:.1f} ms of stable,"
        f" {lane.max_latency_ratio:g} times are allowed",
    )


CHECKS: Final[tuple[Callable[[Tally, Tally, LaneSpec], Verdict | None], ...]] = (
    nonfinite_scores,
    failing_requests,
    shifted_scores,
    slow_answers,
)


def judge_counters(
    reports: Iterable[ReplicaReport], candidate: str, stable: str, salt: str, lane: LaneSpec
) -> Verdict:
    """The verdict of the requests answered since the rollout began.

    Args:
        reports: of all replicas that answered; those of another salt have counted for another
            rollout and are left out.
        candidate: digest of the version on trial.
        stable: digest of the version it is compared with.
        salt: of the rollout.
        lane: the limits.
    """
    counted = [report.counters for report in reports if report.salt == salt]
    tried = tally(each[candidate] for each in counted if candidate in each)
    known = tally(each[stable] for each in counted if stable in each)
    found = [verdict for check in CHECKS if (verdict := check(tried, known, lane)) is not None]
    failed = [verdict for verdict in found if verdict.outcome == "Failed"]
    if failed:
        return failed[0]
    if tried.requests < lane.min_requests:
        return _unsure(f"fewer than {lane.min_requests} requests have reached the candidate")
    if found:
        return found[0]
    return Verdict("Passed", Finding(Reason.ANALYSIS_PASSED, "the candidate is as good as stable"))


def judge_shadows(shadows: Iterable[Shadow], lane: LaneSpec) -> Verdict:
    """The verdict of recorded requests that both versions were asked, before a user is.

    Fewer recorded requests than `lane.min_requests` pass: there is next to nothing to compare,
    and the first batch will tell.
    """
    found = list(shadows)
    bad = sum(each.nonfinite for each in found)
    if bad:
        return _failed(
            Reason.NONFINITE_SCORES, f"{bad} scores of recorded requests were not finite"
        )
    for each in found:
        if each.golden_auc is None or each.stable_golden_auc is None:
            continue
        if each.golden_auc < each.stable_golden_auc - lane.max_golden_auc_drop:
            return _failed(
                Reason.GOLDEN_AUC_DROPPED,
                f"of the events that stable learned last it ranks clicks with an AUC of"
                f" {each.golden_auc:.3f}, stable with {each.stable_golden_auc:.3f}; a drop of"
                f" {lane.max_golden_auc_drop:g} is allowed",
            )
    requests = sum(each.requests for each in found)
    if requests < max(1, lane.min_requests):
        return Verdict(
            "Passed",
            Finding(Reason.ANALYSIS_PASSED, "there are hardly any recorded requests to compare"),
        )
    lacking = _mean(found, lambda each: each.default_ratio)
    lacking_in_stable = _mean(found, lambda each: each.stable_default_ratio)
    if lacking is not None and lacking_in_stable is not None:
        allowed = lacking_in_stable + lane.max_default_ratio
        if lacking > allowed:
            return _failed(
                Reason.DEFAULT_RATIO_EXCEEDED,
                f"on {requests} recorded requests {lacking:.1%} of the keys have no row,"
                f" {allowed:.1%} are allowed (stable lacks {lacking_in_stable:.1%})",
            )
    shift = _mean(found, lambda each: each.mean_shift) or 0.0
    if abs(shift) > lane.max_score_shift:
        return _failed(
            Reason.SCORE_SHIFT_EXCEEDED,
            f"on {requests} recorded requests mean scores moved by {abs(shift):.2f} standard"
            f" deviations of stable's, {lane.max_score_shift:g} are allowed",
        )
    correlation = _mean(found, lambda each: each.correlation)
    if correlation is not None and correlation < lane.min_score_correlation:
        return _failed(
            Reason.SCORE_CORRELATION_LOW,
            f"on {requests} recorded requests scores correlate by {correlation:.2f} with"
            f" stable's, {lane.min_score_correlation:g} is the least allowed",
        )
    return Verdict(
        "Passed",
        Finding(Reason.ANALYSIS_PASSED, "recorded requests are answered as well as by stable"),
    )


def _mean(shadows: Iterable[Shadow], of: Callable[[Shadow], float | None]) -> float | None:
    """Mean by requests over the replicas that can tell; None where none can."""
    told = [(each.requests, value) for each in shadows if (value := of(each)) is not None]
    weight = sum(count for count, _ in told)
    return sum(count * value for count, value in told) / weight if weight else None
