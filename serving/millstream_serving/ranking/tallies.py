"""What each version has answered: since the rollout's salt to the operator, ever to Prometheus.

Lanes count on their threads, each thing under one lock. Both books know the versions that are held
and no others, which bounds them.
"""

from __future__ import annotations

import math
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from millstream_api.reports import Counters
from millstream_serving.ranking.histograms import AGES, Histogram

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from millstream_serving.ranking.answers import Outcome


@dataclass
class Tally:
    """One version since the salt came into force."""

    requests: int = 0
    errors: int = 0
    nonfinite: int = 0
    latency: Histogram = field(default_factory=Histogram)
    scores: int = 0
    score_sum: float = 0.0
    score_squares: float = 0.0

    def counters(self) -> Counters:
        """As the report has it."""
        p50, p99 = self.latency.quantile(0.5), self.latency.quantile(0.99)
        mean = self.score_sum / self.scores if self.scores else None
        return Counters(
            requests=self.requests,
            errors=self.errors,
            nonfinite=self.nonfinite,
            latency_ms_p50=None if p50 is None else 1e3 * p50,
            latency_ms_p99=None if p99 is None else 1e3 * p99,
            score_mean=mean,
            score_std=None
            if mean is None
            else math.sqrt(max(0.0, self.score_squares / self.scores - mean * mean)),
        )


@dataclass
class Traffic:
    """All that was asked and answered by the versions that are held."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # role, digest, status
    latency: dict[tuple[str, str], Histogram] = field(default_factory=dict)  # role, digest
    ages: dict[tuple[str, str], Histogram] = field(default_factory=dict)  # likewise
    unkeyed: int = 0  # requests without a user
    late: int = 0  # requests whose turn came after their latency budget


class Tallies:
    """All versions, in both books; any thread may call."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._salt: str | None = None
        self._since_salt: dict[str, Tally] = {}
        self._ever = Traffic()

    def keep(self, salt: str, digests: AbstractSet[str]) -> None:
        """Begin a new book with a new salt, and forget versions that are no longer held."""
        with self._lock:
            if salt != self._salt:
                self._salt, self._since_salt = salt, {}
            kept = self._since_salt
            self._since_salt = {digest: kept.get(digest) or Tally() for digest in digests}
            known, ever = digests | {""}, self._ever
            for key in [key for key in ever.requests if key[1] not in known]:
                del ever.requests[key]
            for book in (ever.latency, ever.ages):
                for pair in [pair for pair in book if pair[1] not in known]:
                    del book[pair]

    def count(self, role: str, digest: str, status: int, seconds: float | None) -> None:
        """Count one request.

        Args:
            role: of the version that answered; "none" where none did.
            digest: of that version, or "".
            status: of the answer.
            seconds: from its arrival to its answer; None: the answer was remembered, which says
                nothing of how fast a version scores and would flatter the one that is known longer.
        """
        with self._lock:
            self._ever.requests[role, digest, status] += 1
            tally = self._since_salt.get(digest)
            if tally is not None:
                tally.requests += 1
                tally.errors += status >= 500
            if seconds is not None:
                self._ever.latency.setdefault((role, digest), Histogram()).add(seconds)
                if tally is not None:
                    tally.latency.add(seconds)

    def count_unkeyed(self) -> None:
        """Count a request without a user."""
        with self._lock:
            self._ever.unkeyed += 1

    def count_late(self) -> None:
        """Count a request whose turn came too late."""
        with self._lock:
            self._ever.late += 1

    def date(self, role: str, digest: str, seconds: float) -> None:
        """Note how old the newest event was that the version behind an answer has learned from."""
        with self._lock:
            self._ever.ages.setdefault((role, digest), Histogram(AGES)).add(max(0.0, seconds))

    def weigh(self, outcome: Outcome) -> None:
        """Take in the scores of an answer, and those that were not fit to be sent."""
        with self._lock:
            answered = self._since_salt.get(outcome.version.digest)
            if answered is not None and outcome.best is not None:
                answered.scores += len(outcome.best.scores)
                answered.score_sum += outcome.best.total
                answered.score_squares += outcome.best.squares
            for version, count in outcome.nonfinite:
                failed = self._since_salt.get(version.digest)
                if failed is not None:
                    failed.nonfinite += count

    def counters(self) -> dict[str, Counters]:
        """By digest, since the salt came into force."""
        with self._lock:
            return {digest: tally.counters() for digest, tally in self._since_salt.items()}

    def traffic(self) -> Traffic:
        """What has been counted ever, as it is now."""
        with self._lock:
            return deepcopy(self._ever)
