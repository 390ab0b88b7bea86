"""The loop's side of the store: what is known of it, what is on its way, what to do next.

          ┌── Failed, later again ──┐
          ▼                         │
    not met ──── meet ──────► met ── publish ──► Committed ──► …
                  │                    │  └────► Failed, rows stay unpublished
                  │                    ├────► Outdated: forget what was erased, publish again
                  └─ Met: go on from   └─ Rewound: the live state descends from a quarantined
                     what is there        or collected version; go on from the newest allowed

All methods are called by the training thread between two steps; all talking to the store happens
in jobs on the background thread, which see only values that nobody changes.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

from millstream_api.reports import StoreHealth
from millstream_core.erasure.entries import read_ledger
from millstream_core.store import IntegrityError, ObjectMissing, StoreError, StoreUnavailable
from millstream_trainer.publishing.decisions import (
    LastVersion,
    TrainingProgress,
    decide_publish,
    retry_delay,
)
from millstream_trainer.publishing.restoring import quarantined, restore_newest
from millstream_trainer.publishing.snapshots import SealedSnapshot, Snapshot, joined, take_snapshot
from millstream_trainer.publishing.versions import move_latest, write_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.manifest import Manifest, Validation, Watermark
    from millstream_api.settings import TrainerSettings
    from millstream_core.erasure.ledger import Ledger
    from millstream_trainer.instruments import Instruments
    from millstream_trainer.model import LiveModel
    from millstream_trainer.publishing.background import Background
    from millstream_trainer.publishing.restoring import Restorer
    from millstream_trainer.publishing.standing import Standing
    from millstream_trainer.publishing.versions import Writer

log = logging.getLogger(__name__)

REACHABLE: Final = StoreHealth(ok=True, reason="Reachable")


@dataclass(frozen=True)
class Met:
    """The store answers; this is what the lineage holds."""

    standing: Standing
    model: LiveModel | None  # None: nothing to go on from


@dataclass(frozen=True)
class Rewound:
    """The live state may not be published; go on from here."""

    standing: Standing
    model: LiveModel


@dataclass(frozen=True)
class Outdated:
    """Keys were erased since this snapshot was taken; it must not become a version."""

    snapshot: Snapshot
    ledger: Ledger


@dataclass(frozen=True)
class Committed:
    """A version exists."""

    manifest: Manifest
    sealed: SealedSnapshot
    is_announced: bool  # channel `latest` points to it


@dataclass(frozen=True)
class Announced:
    """Channel `latest` has caught up."""


@dataclass(frozen=True)
class Failed:
    """The store did not do its part."""

    health: StoreHealth
    snapshot: Snapshot | None = None  # that did not become a version


Outcome = Met | Rewound | Outdated | Committed | Announced | Failed


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
    ) -> None:
        self._writer = writer
        self._restorer = restorer
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
                self._start(self._meet)
            elif (unannounced := self._unannounced) is not None:
                self._start(lambda: self._announce(unannounced))
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
        self._start(lambda: self._publish(snapshot, standing), snapshot)

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

    # Jobs; on the background thread.

    def _start(self, job: Callable[[], Outcome], snapshot: Snapshot | None = None) -> None:
        def guarded() -> Outcome:
            try:
                return job()
            except StoreError as error:
                return Failed(_health_after(error), snapshot)

        self._background.start(guarded)

    def _meet(self) -> Outcome:
        health = self._writer.store.probe(self._writer.name)
        if not health.ok:
            return Failed(health)
        writer = self._writer
        epoch = writer.store.claim(writer.design.lineage(), writer.name, writer.token)
        ledger = read_ledger(writer.store)
        model, standing = restore_newest(self._restorer, quarantined(writer.store), epoch, ledger)
        return Met(standing, model)

    def _publish(self, snapshot: Snapshot, standing: Standing) -> Outcome:
        ledger = read_ledger(self._writer.store, snapshot.ledger)
        if ledger is not snapshot.ledger:
            return Outdated(snapshot, ledger)
        forbidden = quarantined(self._writer.store)
        is_orphaned = not snapshot.is_base and self._is_parent_gone(standing)
        if is_orphaned or standing.descends_from(forbidden):
            what = "was collected" if is_orphaned else "is quarantined"
            log.warning("the live model descends from a version that %s: rewinding", what)
            epoch = standing.writer_epoch
            model, found = restore_newest(self._restorer, forbidden, epoch, ledger)
            return Rewound(found, model or self._restorer.fresh_model())
        sealed = SealedSnapshot.of(snapshot)
        manifest = write_version(self._writer, sealed, standing)
        try:
            move_latest(self._writer, manifest, self._now())
        except StoreError as error:
            log.warning("version %d is committed but not announced: %s", manifest.version, error)
            return Committed(manifest, sealed, is_announced=False)
        return Committed(manifest, sealed, is_announced=True)

    def _is_parent_gone(self, standing: Standing) -> bool:
        """Whether the version below was collected; no channel names the one gone back to.

        Nobody could read a delta upon it.
        """
        parent = standing.parent_ref
        if parent is None:
            return False
        try:
            return self._writer.store.resolve(parent.lineage, parent.version) != parent
        except ObjectMissing:
            return True

    def _announce(self, manifest: Manifest) -> Outcome:
        move_latest(self._writer, manifest, self._now())
        return Announced()


def _health_after(error: StoreError) -> StoreHealth:
    match error:
        case StoreUnavailable():
            reason = "Unreachable"
        case IntegrityError():
            reason = str(error.reason)
        case _:
            reason = type(error).__name__
    return StoreHealth(ok=False, reason=reason, message=str(error))
