"""The loop's side of the store: what is known of it, what is on its way, what to do next.

          ┌── Failed, later again ──┐
          ▼                         │
    not met ──── meet ──────► met ── publish ──► Committed ──► …
                  │                    │  └────► Failed, rows stay unpublished
                  │                    ├────► Outdated: forget what was erased, publish again
                  └─ Met: go on from   └─ Rewound: the live state descends from a quarantined
                     what is there        or collected version; go on from the newest allowed

All methods are called by the training thread between two steps; all talking to the store happens
in `jobs` on the background thread.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

from millstream_api.reports import StoreHealth
from millstream_trainer.publishing.decisions import (
    LastVersion,
    TrainingProgress,
    decide_publish,
    retry_delay,
)
from millstream_trainer.publishing.jobs import (
    Announced,
    Committed,
    Failed,
    Jobs,
    Met,
    Outdated,
    Rewound,
    attempt,
)
from millstream_trainer.publishing.snapshots import joined, take_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.manifest import Manifest, Validation, Watermark
    from millstream_api.settings import TrainerSettings
    from millstream_core.telemetry.exporting import SpanExporter
    from millstream_trainer.instruments import Instruments
    from millstream_trainer.model import LiveModel
    from millstream_trainer.publishing.background import Background
    from millstream_trainer.publishing.jobs import Outcome
    from millstream_trainer.publishing.restoring import Restorer
    from millstream_trainer.publishing.snapshots import SealedSnapshot, Snapshot
    from millstream_trainer.publishing.standing import Standing
    from millstream_trainer.publishing.versions import Writer

log = logging.getLogger(__name__)

REACHABLE: Final = StoreHealth(ok=True, reason="Reachable")


class StoreLink:
    """Meets the store, publishes, rewinds; one job at a time."""

    def __init__(
        self,
        writer: Writer,
        restorer: Restorer,
        background: Background[Outcome],
        settings: TrainerSettings,
        instruments: Instruments,
        now: Callable[[], float],
        exporter: SpanExporter | None = None,
    ) -> None:
        self._jobs = Jobs(writer, restorer, now, exporter)
        self._background = background
        self._settings = settings
        self._instruments = instruments
        self._now = now
        self._standing: Standing | None = None
        self._last: LastVersion | None = None
        self._unannounced: Manifest | None = None
        self._learned: Watermark | None = None  # not in a committed version, nor on its way
        self._snapshots = 0
        self._failures = 0
        self._retry_at = 0.0
        self.health = StoreHealth(ok=False, reason="NotMet", message="the store was not asked yet")
        self.published: Manifest | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job is under way."""
        return self._background.is_busy

    def learned(self, watermark: Watermark) -> None:
        """Note the event times of a batch that the live model has learned."""
        self._learned = joined(self._learned, watermark)

    def attend(self, model: LiveModel, *, timeout: float = 0.0) -> LiveModel | None:
        """Take the result of a job if there is one, and start what is due besides publishing.

        Args:
            model: the live one.
            timeout: seconds to wait for a result.

        Returns:
            A model to go on from instead of the live one, or None.

        Raises:
            Fenced: another trainer has taken over.
        """
        successor = self._settle(self._background.result(timeout), model)
        if not self.is_busy and self._now() >= self._retry_at:
            if self._standing is None:
                self._start(self._jobs.meet)
            elif (unannounced := self._unannounced) is not None:
                self._start(lambda: self._jobs.announce(unannounced))
        return successor

    def publish_if_due(
        self, model: LiveModel, validate: Callable[[], Validation], *, is_draining: bool = False
    ) -> None:
        """Start publishing the live model if a version is due."""
        now = self._now()
        progress = TrainingProgress(
            events=model.events,
            event_seconds=self._learned.last - self._learned.first if self._learned else 0.0,
            knows_store=self._standing is not None,
            is_publishing=self.is_busy,
            is_draining=is_draining,
            retry_at=self._retry_at,
        )
        decision = decide_publish(progress, self._last, now, self._settings)
        if decision.kind is None or self._standing is None:
            return
        began = perf_counter()
        self._snapshots += 1
        snapshot = take_snapshot(
            model, decision, self._learned, validate(), number=self._snapshots, now=now
        )
        self._instruments.checkpoint_stall.observe(perf_counter() - began)
        self._learned = None
        log.debug("publishing a %s: %s", decision.kind, decision.reason)
        standing = self._standing
        self._start(lambda: self._jobs.publish(snapshot, standing), snapshot)

    # What became of a job; on the training thread.

    def _settle(self, outcome: Outcome | None, model: LiveModel) -> LiveModel | None:
        if outcome is None:
            return None
        if isinstance(outcome, Failed):
            self._settle_failure(outcome)
            return None
        self._failures, self._retry_at, self.health = 0, 0.0, REACHABLE
        match outcome:
            case Met(standing, restored):
                self._stand(standing, restored.events if restored else 0)
                if restored is not None:
                    self._learned = None
                return restored
            case Rewound(standing, restored):
                self._instruments.rewinds.inc()
                self._stand(standing, restored.events)
                self._learned = None
                return restored
            case Outdated(snapshot, ledger):
                model.forget(ledger, after=model.ledger.seq)
                self._learned = joined(snapshot.watermark, self._learned)
            case Committed(manifest, sealed, is_announced):
                self._settle_commit(manifest, sealed, model)
                self._unannounced = None if is_announced else manifest
            case Announced():
                self._unannounced = None
        return None

    def _settle_failure(self, failed: Failed) -> None:
        self._failures += 1
        self._retry_at = self._now() + retry_delay(self._failures)
        if failed.health != self.health:
            log.warning("model store: %s: %s", failed.health.reason, failed.health.message)
        self.health = failed.health
        self._instruments.publish_failures.labels(failed.health.reason).inc()
        if failed.snapshot is not None:
            # Its rows still count as written since the last commit; so must its event times.
            self._learned = joined(failed.snapshot.watermark, self._learned)

    def _settle_commit(self, manifest: Manifest, sealed: SealedSnapshot, model: LiveModel) -> None:
        assert self._standing is not None
        for name, table in model.tables.items():
            table.committed(sealed.tables[name])
        for name, memory in model.admission_memory().items():
            memory.committed(sealed.admission[name])
        self._stand(self._standing.after(manifest, manifest.ref()), sealed.snapshot.events)
        self._instruments.observe_version(manifest)

    def _stand(self, standing: Standing, events: int) -> None:
        self._standing = standing
        self._unannounced = None
        parent = self.published = standing.parent
        self._last = (
            LastVersion(
                events=events,
                taken_at=parent.created_at,
                chain_length=parent.chain.length,
                chain_share=parent.chain.bytes / max(parent.chain.base_bytes, 1),
            )
            if parent is not None
            else None
        )

    def _start(self, job: Callable[[], Outcome], snapshot: Snapshot | None = None) -> None:
        self._background.start(lambda: attempt(job, snapshot))
