"""What Prometheus reads.

Series are made at each scrape from what the replica knows right then, so those of a version that
is no longer held are gone with it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from millstream_serving.ranking.histograms import Histogram
    from millstream_serving.replica import Replica

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "millstream_serving"

# Every third class is bound enough for a dashboard: about four to a factor of ten. But Prometheus
# takes the requests of a bucket for evenly spread, and a p99 from 1 to 50 ms is what rollouts and
# alerts go by: there each class is shown, which leaves an error of 10 %.
_FINE: Final = (0.9e-3, 55e-3)  # seconds


class Metrics(Collector):
    """The replica and its process, in the text format."""

    def __init__(
        self,
        replica: Replica,
        clock: Callable[[], float],
        dropped: Mapping[str, Callable[[], int]],
    ) -> None:
        """Read from this replica.

        Args:
            replica: whose state is shown.
            clock: Unix seconds.
            dropped: by kind, what counts log lines and the like that were not written.
        """
        self._replica = replica
        self._dropped = dropped
        self._clock = clock
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self) -> bytes:
        """One scrape."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing ahead of time: registering must not read the replica."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        yield from self._traffic()
        yield from self._versions()
        dropped = CounterMetricFamily(
            f"{PREFIX}_telemetry_dropped",
            "Log lines, logged requests and traces dropped because nobody took them in time.",
            labels=("kind",),
        )
        for kind, count in self._dropped.items():
            dropped.add_metric((kind,), count())
        yield dropped

    def _traffic(self) -> Iterator[Metric]:
        traffic = self._replica.tallies.traffic()
        requests = CounterMetricFamily(
            f"{PREFIX}_requests", "Ranking requests answered.", labels=("role", "version", "code")
        )
        # Versions of two lineages may have one number, and of a series that is there twice
        # Prometheus takes one and drops the other.
        named: Counter[tuple[str, str, str]] = Counter()
        for (role, digest, status), count in traffic.requests.items():
            named[role, self._number(digest), str(status)] += count
        for labels, count in named.items():
            requests.add_metric(labels, count)
        yield requests
        yield self._histograms(
            "request_duration_seconds",
            "From the arrival of a ranking request to its answer, unless that was remembered.",
            traffic.latency,
        )
        yield self._histograms(
            "event_to_answer_seconds",
            "From the newest event that a version has learned from to an answer by it.",
            traffic.ages,
        )
        yield CounterMetricFamily(
            f"{PREFIX}_requests_unkeyed", "Ranking requests without a user.", value=traffic.unkeyed
        )
        remembered = CounterMetricFamily(
            f"{PREFIX}_recommendations",
            "Recommendations asked for, by whether the version remembered its answer.",
            labels=("remembered",),
        )
        remembered.add_metric(("yes",), self._replica.remembered.hits)
        remembered.add_metric(("no",), self._replica.remembered.misses)
        yield remembered
        yield CounterMetricFamily(
            f"{PREFIX}_requests_late",
            "Ranking requests whose turn came after their latency budget.",
            value=traffic.late,
        )

    def _versions(self) -> Iterator[Metric]:
        replica = self._replica
        loads = SummaryMetricFamily(
            f"{PREFIX}_model_load_duration_seconds", "Time to fetch, verify and apply a version."
        )
        loads.add_metric((), replica.loads, replica.load_seconds)
        yield loads
        memory = GaugeMetricFamily(
            f"{PREFIX}_model_memory_bytes", "Memory of the held versions.", labels=("kind",)
        )
        memory.add_metric(("tables",), replica.loaded.bytes)
        yield memory
        yield GaugeMetricFamily(
            f"{PREFIX}_loaded_versions", "Versions held.", value=len(replica.loaded.versions)
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_routing_epoch", "Epoch of the release in force.", value=replica.routing.epoch
        )
        rejected = CounterMetricFamily(
            f"{PREFIX}_version_rejected", "Versions refused.", labels=("reason",)
        )
        for reason, count in replica.rejected.items():
            rejected.add_metric((reason,), count)
        yield rejected
        yield from self._agreement()
        yield from self._staleness()

    def _agreement(self) -> Iterator[Metric]:
        shared = GaugeMetricFamily(
            f"{PREFIX}_precision_shared_ratio",
            "Share of the ten best items that a version names in reduced precision too.",
            labels=("version",),
        )
        error = GaugeMetricFamily(
            f"{PREFIX}_precision_score_error",
            "Largest difference of a version's scores in reduced precision.",
            labels=("version",),
        )
        for held in self._replica.loaded.versions.values():
            if held.agreement is not None:
                shared.add_metric((f"{held.ref}",), held.agreement.shared)
                error.add_metric((f"{held.ref}",), held.agreement.error)
        yield shared
        yield error

    def _staleness(self) -> Iterator[Metric]:
        stable = self._replica.routing.stable
        held = None if stable is None else self._replica.loaded.versions.get(stable.digest)
        if held is not None and held.manifest.watermark is not None:
            yield GaugeMetricFamily(
                f"{PREFIX}_model_staleness_seconds",
                "Age of the newest event that stable has learned from.",
                value=self._clock() - held.manifest.watermark.last,
            )

    def _histograms(self, name: str, told: str, book: dict[tuple[str, str], Histogram]) -> Metric:
        family = HistogramMetricFamily(f"{PREFIX}_{name}", told, labels=("role", "version"))
        named: dict[tuple[str, str], list[Histogram]] = defaultdict(list)
        for (role, digest), found in book.items():
            named[role, self._number(digest)].append(found)
        for labels, found_all in named.items():
            total = sum(each.sum for each in found_all)
            family.add_metric(labels, _buckets(found_all), sum_value=total)
        return family

    def _number(self, digest: str) -> str:
        held = self._replica.loaded.versions.get(digest)
        return "none" if held is None else str(held.ref.version)


def _shown(bounds: tuple[float, ...]) -> tuple[int, ...]:
    """The classes whose bounds are those of buckets."""
    return tuple(i for i, bound in enumerate(bounds) if i % 3 == 2 or _FINE[0] < bound < _FINE[1])


def _buckets(histograms: Sequence[Histogram]) -> list[tuple[str, float]]:
    """Of histograms with the same classes, as one."""
    bounds = histograms[0].bounds
    buckets: list[tuple[str, float]] = []
    below = done = 0
    for last in _shown(bounds):
        below += sum(sum(each.counts[done : last + 1]) for each in histograms)
        done = last + 1
        buckets.append((f"{bounds[last]:.6g}", below))
    return [*buckets, ("+Inf", sum(each.total for each in histograms))]
