"""What the trainer does at the store, and what may come of it.

Jobs run on the background thread and see only values that nobody changes; `link` starts them and
takes what comes of them between two steps.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from millstream_api.reports import StoreHealth
from millstream_core.erasure.entries import read_ledger
from millstream_core.store import (
    IntegrityError,
    ObjectMissing,
    StoreError,
    StoreUnavailable,
    probe,
)
from millstream_trainer.publishing.restoring import quarantined, restore_newest
from millstream_trainer.publishing.snapshots import SealedSnapshot, Snapshot
from millstream_trainer.publishing.traces import publishing_spans
from millstream_trainer.publishing.versions import move_latest, write_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.manifest import Manifest
    from millstream_core.erasure.ledger import Ledger
    from millstream_core.telemetry.exporting import SpanExporter
    from millstream_trainer.model import LiveModel
    from millstream_trainer.publishing.restoring import Restorer
    from millstream_trainer.publishing.standing import Standing
    from millstream_trainer.publishing.versions import Writer

log = logging.getLogger(__name__)


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


class Jobs:
    """Each talks to the store and says what came of it."""

    def __init__(
        self,
        writer: Writer,
        restorer: Restorer,
        now: Callable[[], float],
        exporter: SpanExporter | None = None,
    ) -> None:
        self._writer = writer
        self._restorer = restorer
        self._now = now
        self._exporter = exporter  # of traces; None: nobody asked for them

    def meet(self) -> Outcome:
        """Find out whether the store can be written to, claim the lineage, and read where it is."""
        health = probe(self._writer.store, self._writer.name)
        if not health.ok:
            return Failed(health)
        writer = self._writer
        epoch = writer.store.claim(writer.design.lineage(), writer.name, writer.token)
        ledger = read_ledger(writer.store)
        model, standing = restore_newest(self._restorer, quarantined(writer.store), epoch, ledger)
        return Met(standing, model)

    def publish(self, snapshot: Snapshot, standing: Standing) -> Outcome:
        """Make a version of a snapshot, unless the live model must not become one."""
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
        ends = [("wait", self._now())]
        sealed = SealedSnapshot.of(snapshot)
        ends.append(("seal", self._now()))
        manifest = write_version(self._writer, sealed, standing)
        ends.append(("write", self._now()))
        is_announced = self._is_announced(manifest)
        ends.append(("announce", self._now()))
        if self._exporter is not None:
            self._exporter.tell(partial(publishing_spans, manifest, snapshot.taken_at, ends))
        return Committed(manifest, sealed, is_announced=is_announced)

    def _is_announced(self, manifest: Manifest) -> bool:
        """Have channel `latest` point to a new version, if the store does its part."""
        try:
            move_latest(self._writer, manifest, self._now())
        except StoreError as error:
            log.warning(
                "version %d is committed but not announced: %s",
                manifest.version,
                error,
                extra={"version": manifest.version},
            )
            return False
        return True

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

    def announce(self, manifest: Manifest) -> Outcome:
        """Have channel `latest` point to a version that is committed."""
        move_latest(self._writer, manifest, self._now())
        return Announced()


def attempt(job: Callable[[], Outcome], snapshot: Snapshot | None = None) -> Outcome:
    """Do a job; Failed where the store does not do its part, with the snapshot it was about."""
    try:
        return job()
    except StoreError as error:
        return Failed(_health_after(error), snapshot)


def _health_after(error: StoreError) -> StoreHealth:
    match error:
        case StoreUnavailable():
            reason = "Unreachable"
        case IntegrityError():
            reason = str(error.reason)
        case _:
            reason = type(error).__name__
    return StoreHealth(ok=False, reason=reason, message=str(error))
