"""This replica: the release it follows, the versions it holds, and who answers a query.

    follower ──release──┐                       ┌── answers, counters
                        ├──► routing ──► rank ──┤
    loader ────loaded───┘                       └── recorded queries ──► shadow

Releases and versions change on one event loop; lanes answer on their threads, each query by the
routing and the versions of one moment. The threads that load and compare get values and hand back
values.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from millstream_api.reports import ReplicaReport
from millstream_serving.loading.loader import NOTHING_LOADED, Loaded
from millstream_serving.ranking.answers import Asked, Id, IdOutOfRange, Query, answer
from millstream_serving.ranking.lanes import TooLate
from millstream_serving.ranking.remembered import Remembered
from millstream_serving.ranking.shadowing import Shadowing
from millstream_serving.ranking.tallies import Tallies
from millstream_serving.releases.following import read_release
from millstream_serving.releases.routing import NOWHERE, Routing, decide_routing, is_newer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from millstream_api.manifest import VersionRef
    from millstream_api.release import Release
    from millstream_api.settings import ServerSettings
    from millstream_serving.engine.versions import ModelVersion
    from millstream_serving.features.store import FeatureStore
    from millstream_serving.ranking.answers import Outcome
    from millstream_serving.ranking.lanes import Lane
    from millstream_serving.ranking.marks import Marks
    from millstream_serving.telemetry.request_log import RequestLog
    from millstream_serving.telemetry.version_traces import VersionTraces

log = logging.getLogger(__name__)


class NoVersion(Exception):  # noqa: N818 - named for what is the case
    """No version is there to answer with."""


class NonFiniteScores(Exception):  # noqa: N818
    """Not even stable gives finite scores for this query."""

    def __init__(self, version: VersionRef, batch: int | None) -> None:
        super().__init__(f"version {version.version} has no finite score for this query")
        self.version = version
        self.batch = batch


@dataclass(frozen=True)
class Ranking:
    """What a query is answered with."""

    version: int
    batch: int | None
    ids: list[Id]  # best first
    scores: list[float]
    watermark: float | None  # latest event that the version learned, Unix seconds
    ignored: tuple[str, ...]  # values in the context that the version has no feature for


@dataclass(frozen=True)
class _InForce:
    """What belongs together: whoever is routed to is among the versions."""

    routing: Routing = NOWHERE
    loaded: Loaded = NOTHING_LOADED


class Replica:
    """Belongs to one event loop, where every method is called; lanes call `has_room` and `rank`.

    Whatever else it tells may be asked by any thread.
    """

    def __init__(
        self,
        name: str,
        settings: ServerSettings,
        *,
        features: FeatureStore,
        want: Callable[[Sequence[VersionRef]], None],
        loop: asyncio.AbstractEventLoop,
        stopwatch: Callable[[], float],
        clock: Callable[[], float],
        version_traces: VersionTraces | None = None,
        request_log: RequestLog | None = None,
    ) -> None:
        """Know nothing yet.

        Args:
            name: of this replica, for its report.
            settings: of the RecServing.
            features: of users.
            want: tells the loader what to hold.
            loop: the event loop.
            stopwatch: seconds of a clock that never jumps.
            clock: Unix seconds.
            version_traces: told of versions, where traces are asked for.
            request_log: told of answers, where it is asked for.
        """
        self.name = name
        self.model = settings.model
        self.tallies = Tallies()
        self.remembered = Remembered()
        self._in_force = _InForce()
        self.rejected: Counter[str] = Counter()  # refused versions by reason, ever
        self.loads = 0
        self.load_seconds = 0.0
        self._settings = settings
        self._features = features
        self._want = want
        self._loop = loop
        self._stopwatch = stopwatch
        self._clock = clock
        self._version_traces = version_traces
        self._request_log = request_log
        self._release: Release | None = None
        self._obstacle: str | None = "NoRelease"  # to becoming ready; None for good once it was
        self._is_draining = False
        self._recorded: deque[Asked] = deque(maxlen=settings.shadow_requests)
        self._shadowing = Shadowing(settings.popular_candidates, loop, stopwatch)

    # What comes in

    def release_read(self, document: bytes) -> None:
        """Follow this release, if it is one and newer than the one known."""
        release = read_release(document)
        if release is None or not is_newer(release, self._release):
            return
        log.info(
            "release %d: stable %s, candidate %s in %d of %d batches, %s",
            release.epoch,
            release.stable,
            release.candidate,
            release.advanced,
            release.batches,
            release.mode,
        )
        self._release = release
        self._reroute(self.loaded)

    def has_loaded(self, loaded: Loaded) -> None:
        """Take note of what the loader holds now."""
        for digest in loaded.refused.keys() - self.loaded.refused.keys():
            self.rejected[loaded.refused[digest].reason] += 1
        if loaded.seconds is not None:
            self.loads += 1
            self.load_seconds += loaded.seconds
        if self._version_traces is not None:
            self._version_traces.loaded(self.loaded, loaded)
        self._reroute(loaded)

    def drain(self) -> None:
        """Stop asking for requests; those that come are answered."""
        self._is_draining = True

    @property
    def routing(self) -> Routing:
        """Who answers here now."""
        return self._in_force.routing

    @property
    def loaded(self) -> Loaded:
        """What is held here now."""
        return self._in_force.loaded

    def _reroute(self, loaded: Loaded) -> None:
        before = self.routing
        if self._release is None:
            self._in_force = _InForce(before, loaded)
            return
        routing = decide_routing(self._release, loaded.versions.keys(), before)
        self._in_force = _InForce(routing, loaded)
        if (self.routing.stable, self.routing.candidate) != (before.stable, before.candidate):
            log.info(
                "now answering with stable %s and candidate %s: %s",
                self.routing.stable,
                self.routing.candidate,
                self.routing.reason,
            )
        if self._obstacle is not None:
            self._obstacle = self._first_obstacle(self._release)
        self._want(self.routing.needed())
        self.tallies.keep(self._release.salt, self.loaded.versions.keys())
        self._shadow_if_asked()

    def _shadow_if_asked(self) -> None:
        stable, candidate = self.routing.stable, self.routing.candidate
        if self.routing.release.mode == "Shadow" and stable is not None and candidate is not None:
            held = self.loaded.versions
            self._shadowing.begin(held[candidate.digest], held[stable.digest], self._recorded)

    # Queries

    def has_room(self, lane: Lane, budget: float | None) -> bool:
        """Whether `rank` would not raise Busy, for whoever has not read the query yet."""
        return lane.has_room(self._deadline(self._stopwatch(), budget))

    async def rank(
        self, query: Query, lane: Lane, budget: float | None = None, marks: Marks | None = None
    ) -> Ranking:
        """Answer a query with the version that this user gets.

        Args:
            query: what is asked.
            lane: of the calling thread.
            budget: seconds that it may wait for its turn; None: as the RecServing says.
            marks: where a trace was asked for.

        Raises:
            NoVersion: nothing is loaded.
            Busy: too many queries wait for this one to have its turn in time.
            TooLate: its turn came too late.
            IdOutOfRange: an id in the query has no key.
            NonFiniteScores: no version that may answer gives finite scores.
        """
        start = self._stopwatch()
        if query.user_id is None:
            self.tallies.count_unkeyed()
        in_force = self._in_force
        routing, versions = in_force.routing, in_force.loaded.versions
        chosen, batch = routing.route(None if query.user_id is None else str(query.user_id))
        if chosen is None:
            raise NoVersion(f"no version is in force on this replica yet ({routing.reason})")
        held = versions[chosen.digest]
        outcome = self.remembered.find(held, query)
        if outcome is not None:
            self._count(chosen, 200, start, is_scored=False)
            self._note(query, outcome, batch)
            return self._ranking(outcome, held, batch)
        in_turn = [held]
        if routing.stable is not None and chosen.digest != routing.stable.digest:
            in_turn.append(versions[routing.stable.digest])
        popular = self._settings.popular_candidates
        job = partial(answer, query, in_turn, self._features, popular, marks=marks)
        scoring = lane.submit(job, self._deadline(start, budget))
        try:
            outcome = await scoring
        except IdOutOfRange:
            raise
        except TooLate:
            self.tallies.count_late()
            raise
        except Exception:
            self._count(chosen, 500, start)
            raise
        self.tallies.weigh(outcome)
        if outcome.best is None:
            self._count(outcome.version, 500, start)
            raise NonFiniteScores(outcome.version, batch)
        self._recorded.append(outcome.asked)
        self.remembered.keep(held, query, outcome)
        self._count(outcome.version, 200, start)
        self._note(query, outcome, batch)
        return self._ranking(outcome, versions[outcome.version.digest], batch)

    def _note(self, query: Query, outcome: Outcome, batch: int | None) -> None:
        """Tell those who were asked for an account of answers."""
        if self._request_log is not None:
            self._request_log.note(query, outcome, batch)
        if self._version_traces is not None:
            role = self.routing.role(outcome.version.digest)
            self._version_traces.answered(outcome.version, role)

    @staticmethod
    def _ranking(outcome: Outcome, held: ModelVersion, batch: int | None) -> Ranking:
        assert outcome.best is not None
        watermark = held.manifest.watermark
        return Ranking(
            version=outcome.version.version,
            batch=batch,
            ids=outcome.ids,
            scores=outcome.best.scores,
            watermark=None if watermark is None else watermark.last,
            ignored=outcome.ignored,
        )

    def _deadline(self, start: float, budget: float | None) -> float:
        return start + (self._settings.latency_budget_millis / 1e3 if budget is None else budget)

    def _count(
        self, version: VersionRef, status: int, start: float, *, is_scored: bool = True
    ) -> None:
        role = self.routing.role(version.digest)
        seconds = self._stopwatch() - start if is_scored else None
        self.tallies.count(role, version.digest, status, seconds)
        held = self.loaded.versions.get(version.digest)
        if status == 200 and held is not None and held.manifest.watermark is not None:
            age = self._clock() - held.manifest.watermark.last
            self.tallies.date(role, version.digest, age)

    # What it says of itself

    @property
    def has_users(self) -> bool:
        """Whether this replica is asked for answers and can give them; any thread may ask."""
        return self._obstacle is None and self.routing.stable is not None

    def unready_because(self) -> str | None:
        """Why this replica should get no requests; None where it should.

        It becomes ready with stable loaded and everything else that the release wants loaded or
        refused. From then on it stays ready as long as it can answer: loading a candidate, or
        waiting for a new stable behind the one before, is no reason to leave.
        """
        if self._is_draining:
            return "Draining"
        if self._obstacle is not None:
            return self._obstacle
        nobody_answers = self.routing.stable is None and self.routing.release.stable is not None
        return self.routing.reason if nobody_answers else None

    def _first_obstacle(self, release: Release) -> str | None:
        """What keeps a replica that has not been ready yet from being so."""
        if release.stable is None:
            return None
        if any(self.loaded.state(ref).state == "Loading" for ref in release.wanted()):
            return "Loading"
        return None if self.routing.stable == release.stable else "StableRefused"

    def report(self) -> ReplicaReport:
        """The answer to GET /release."""
        routing, release = self.routing, self.routing.release
        return ReplicaReport(
            replica=self.name,
            epoch=routing.epoch,
            salt=release.salt,
            stable=routing.stable,
            candidate=routing.candidate,
            advanced=release.advanced if routing.candidate is not None else 0,
            versions=tuple(self.loaded.state(ref) for ref in release.wanted()),
            counters=self.tallies.counters(),
            shadow=self._shadowing.result,
            store=self.loaded.store,
            erasure_seq=self.loaded.erasure_seq,
        )
