"""The trainer's Prometheus metrics, `millstream_training_*`, on a registry of their own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from millstream_trainer.publishing.versions import version_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from millstream_api.manifest import Manifest
    from millstream_api.reports import Progress
    from millstream_core.tables.lifecycle import Lifecycle

_STALLS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Instruments:
    """All metrics of one trainer process."""

    def __init__(self, dropped: Mapping[str, Callable[[], int]] | None = None) -> None:
        """Start at zero.

        Args:
            dropped: by kind, what counts log lines and traces that were not written.
        """
        self.registry = CollectorRegistry()
        self.registry.register(_Dropped(dropped or {}))
        prefix = "millstream_training_"
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self.trained = counter(f"{prefix}samples_trained", "Events learned.")
        self.rejected = counter(
            f"{prefix}samples_rejected", "Malformed events left out, by reason.", ["reason"]
        )
        self.replayed = counter(
            f"{prefix}samples_replayed",
            "Events whose effect was dropped by going back to a version; they are learned again.",
        )
        self.lag = gauge(
            f"{prefix}source_lag_seconds", "Age of the oldest event due and not learned."
        )
        self.busy = gauge(f"{prefix}busy_ratio", "Share of the last minute spent computing.")
        self.auc = gauge(f"{prefix}auc", "Progressive validation: AUC.")
        self.log_loss = gauge(f"{prefix}log_loss", "Progressive validation: log-loss.")
        self.conversion_auc = gauge(
            f"{prefix}conversion_auc",
            "Progressive validation: AUC of what is served, against conversions.",
        )
        self.rows = gauge(f"{prefix}table_rows", "Rows alive, by table.", ["table"])
        self.table_bytes = gauge(
            f"{prefix}table_bytes", "Memory of rows and of keys that wait for one.", ["table"]
        )
        self.disk_rows = gauge(
            f"{prefix}table_disk_rows", "Rows beyond the memory budget, by table.", ["table"]
        )
        self.disk_bytes = gauge(f"{prefix}table_disk_bytes", "Disk of these rows.", ["table"])
        self.read = counter(
            f"{prefix}rows_read",
            "Rows that steps found, by table and tier, memory or disk; counted once some are on "
            "disk.",
            ["table", "tier"],
        )
        self.moved = counter(
            f"{prefix}rows_moved", "Rows that came from disk into memory, by table.", ["table"]
        )
        self.admitted = counter(f"{prefix}rows_admitted", "Rows begun, by table.", ["table"])
        self.evicted = counter(
            f"{prefix}rows_evicted",
            "Rows that had to go, by table and by rule: ttl, lfu or l2.",
            ["table", "rule"],
        )
        self.turned_away = counter(
            f"{prefix}occurrences_waiting",
            "Occurrences in training of keys that admission lets wait for a row, by table.",
            ["table"],
        )
        self.store_ok = gauge(f"{prefix}store_ok", "1: the model store does its part.")
        self.rewinds = counter(
            f"{prefix}rewinds", "Times the model went back because of a quarantine."
        )
        self.published = counter(
            f"{prefix}versions_published", "Versions committed, by kind.", ["kind"]
        )
        self.version = gauge(f"{prefix}published_version", "Newest version committed.")
        self.watermark = gauge(
            f"{prefix}published_watermark_seconds",
            "Unix time of the last event in the newest version.",
        )
        self.publish_failures = counter(
            f"{prefix}publish_failures", "Attempts that the store failed, by reason.", ["reason"]
        )
        self.checkpoint_stall = Histogram(
            f"{prefix}checkpoint_stall_seconds",
            "How long training stood still to copy a version's state.",
            buckets=_STALLS,
            registry=self.registry,
        )
        self.checkpoint_bytes = gauge(
            f"{prefix}checkpoint_bytes",
            "Bytes of the newest version, by kind and group.",
            ["kind", "group"],
        )

    def observe_version(self, manifest: Manifest) -> None:
        """Note a version that was just committed."""
        self.published.labels(manifest.kind).inc()
        for group, size in version_bytes(manifest).items():
            self.checkpoint_bytes.labels(manifest.kind, group).set(size)

    def observe_life(self, table: str, life: Lifecycle) -> None:
        """Note what has become of a table's rows since the last time."""
        changes = life.take_changes()
        self.admitted.labels(table).inc(changes.admitted)
        self.turned_away.labels(table).inc(changes.turned_away)
        for rule, rows in changes.evicted.items():
            self.evicted.labels(table, rule).inc(rows)
        for tier, rows in changes.read.items():
            self.read.labels(table, tier).inc(rows)
        self.moved.labels(table).inc(changes.moved)
        self.table_bytes.labels(table).set(life.bytes)
        self.disk_rows.labels(table).set(life.table.disk_rows)
        self.disk_bytes.labels(table).set(life.table.disk_bytes)

    def observe_progress(self, progress: Progress) -> None:
        """Show the same figures as the progress report."""
        self.lag.set(progress.lag_seconds)
        self.busy.set(progress.busy_ratio)
        self.store_ok.set(progress.store.ok)
        if progress.auc is not None:
            self.auc.set(progress.auc)
        if progress.log_loss is not None:
            self.log_loss.set(progress.log_loss)
        if progress.conversion_auc is not None:
            self.conversion_auc.set(progress.conversion_auc)
        for table, rows in progress.rows.items():
            self.rows.labels(table).set(rows)
        if progress.published is not None:
            self.version.set(progress.published.version)
        if progress.published_watermark is not None:
            self.watermark.set(progress.published_watermark.last)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Dropped(Collector):
    """Counters that others keep."""

    def __init__(self, dropped: Mapping[str, Callable[[], int]]) -> None:
        self._dropped = dropped

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client.registry.Collector."""
        family = CounterMetricFamily(
            "millstream_training_telemetry_dropped",
            "Log lines and traces dropped because nobody took them in time, by kind.",
            labels=("kind",),
        )
        for kind, count in self._dropped.items():
            family.add_metric((kind,), count())
        yield family
