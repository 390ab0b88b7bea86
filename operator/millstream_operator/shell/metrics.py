"""What the operator counts: of itself, and of each object for as long as it exists.

Labels are bounded: namespaced names of objects that exist, reasons from our own list. Series of
an object go with it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from millstream_api.conditions import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.conditions import Condition
    from millstream_api.recserving import RecServingStatus
    from millstream_api.rectraining import RecTrainingStatus
    from millstream_operator.decide.rollout import RolloutDecision
    from millstream_operator.shell.cache import Key

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_OBJECT: Final = ("namespace", "name")
_KNOWN_REASONS: Final = frozenset(
    value for name, value in vars(Reason).items() if name.isupper()
) | {
    # A replica's own words for a refusal.
    "ArchitectureMismatch",
    "ArchitectureUnknown",
    "ColumnsMismatch",
    "DigestMismatch",
    "FormatTooNew",
    "InsufficientMemory",
    "LineageBroken",
    "Malformed",
    "NonFiniteRows",
    "NonFiniteWeights",
    "StateDigestMismatch",
    "TransformMismatch",
    "Truncated",
}


class Metrics:
    """All series, in a registry of their own."""

    def __init__(self) -> None:
        """Register everything once."""
        self._registry = CollectorRegistry()
        on = self._registry
        self.reconciles = Counter(
            "millstream_operator_reconciles",
            "Looks at an object, by outcome.",
            ("kind", "outcome"),
            registry=on,
        )
        self.reconcile_seconds = Histogram(
            "millstream_operator_reconcile_seconds",
            "How long a look takes.",
            ("kind",),
            registry=on,
        )
        self.leading = Gauge(
            "millstream_operator_leading", "1 while this process leads.", registry=on
        )
        self.resyncs = Counter(
            "millstream_operator_resyncs", "Times all objects were listed anew.", registry=on
        )
        self.events = Counter(
            "millstream_operator_watch_events", "Events from watches.", ("kind",), registry=on
        )
        self.loop_lag = Gauge(
            "millstream_operator_loop_lag_seconds",
            "How late the event loop woke, the worst of the last minute.",
            registry=on,
        )
        self._depth = Gauge(
            "millstream_operator_queue_depth", "Objects that wait for a look.", registry=on
        )
        self._oldest = Gauge(
            "millstream_operator_queue_oldest_seconds",
            "How long the first of them has waited.",
            registry=on,
        )
        self._retrying = Gauge(
            "millstream_operator_queue_retrying", "Objects whose last look failed.", registry=on
        )
        self._ready = Gauge(
            "millstream_operator_object_ready",
            "1 where Ready is true.",
            ("kind", *_OBJECT),
            registry=on,
        )
        self._freshness = Gauge(
            "millstream_operator_watermark_timestamp_seconds",
            "Time of the newest event in the version that is published or served.",
            ("kind", *_OBJECT),
            registry=on,
        )
        self._phase = Gauge(
            "millstream_rollout_info",
            "1 for the present phase and versions.",
            (*_OBJECT, "phase", "stable", "candidate"),
            registry=on,
        )
        self._batch = Gauge(
            "millstream_rollout_batch", "Batches that get the candidate.", _OBJECT, registry=on
        )
        self._seconds = Histogram(
            "millstream_rollout_duration_seconds",
            "From the begin of a rollout to its promotion.",
            _OBJECT,
            registry=on,
            buckets=(5, 10, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600),
        )
        self._rollbacks = Counter(
            "millstream_rollbacks", "Versions taken back.", (*_OBJECT, "reason"), registry=on
        )
        self._infos: dict[Key, tuple[str, str, str]] = {}
        self._reasons: dict[Key, set[str]] = {}

    def watch_queue(
        self, depth: Callable[[], float], oldest: Callable[[], float], retrying: Callable[[], float]
    ) -> None:
        """Read the queue's figures whenever they are asked for."""
        self._depth.set_function(depth)
        self._oldest.set_function(oldest)
        self._retrying.set_function(retrying)

    def observe(self, key: Key, status: RecTrainingStatus | RecServingStatus) -> None:
        """Take in the status of an object."""
        self._ready.labels(*key).set(_is_ready(status.conditions))
        if status.watermark is not None:
            self._freshness.labels(*key).set(status.watermark.timestamp())

    def observe_rollout(
        self, key: Key, decision: RolloutDecision, began: float | None, now: float
    ) -> None:
        """Take in what was decided and put in force.

        Args:
            key: the RecServing.
            decision: about its rollout.
            began: when the rollout that it ends or goes on with began, Unix seconds.
            now: Unix seconds.
        """
        place = (key.namespace, key.name)
        release = decision.state.release
        info = (decision.state.phase, str(release.stable or ""), str(release.candidate or ""))
        known = self._infos.get(key)
        if known != info:
            if known is not None:
                self._phase.remove(*place, *known)
            self._phase.labels(*place, *info).set(1)
            self._infos[key] = info
        self._batch.labels(*place).set(release.advanced)
        if not decision.transition:
            return
        if decision.analysis is not None and decision.analysis.outcome == "Failed":
            reason = decision.why.reason if decision.why.reason in _KNOWN_REASONS else "Other"
            self._rollbacks.labels(*place, reason).inc()
            self._reasons.setdefault(key, set()).add(reason)
        elif decision.why.reason == Reason.VERSION_PROMOTED and began is not None:
            self._seconds.labels(*place).observe(now - began)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        place = (key.namespace, key.name)
        for gauge in (self._ready, self._freshness):
            _remove(gauge, key)
        for series in (self._batch, self._seconds):
            _remove(series, place)
        info = self._infos.pop(key, None)
        if info is not None:
            _remove(self._phase, (*place, *info))
        for reason in self._reasons.pop(key, ()):
            _remove(self._rollbacks, (*place, reason))

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


def _is_ready(conditions: tuple[Condition, ...]) -> bool:
    return any(each.type == "Ready" and each.status == "True" for each in conditions)


def _remove(metric: Gauge | Histogram | Counter, labels: tuple[str, ...]) -> None:
    with suppress(KeyError):  # it never had this series
        metric.remove(*labels)
