"""The training loop: poll, decode, score and learn, publish at the step barrier, report.

    begin ──► meet the store ──► go on from the newest version, or from nothing ──┐
      ┌───────────────────────────────────────────────────────────────────────────┘
      └─► attend to the store ─► step ─► publish if due ─► report ─► …until stopped ─► drain

Training never waits for the store: with the store away it starts from nothing, and goes on when
the store leaves later. Rewinding, for whatever reason, is always the same act: another live model
and the source sought to that model's positions. So an event counts exactly once in the state that
a version holds, however often it was computed on the way.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal, Protocol

from millstream_api.manifest import Validation, Watermark
from millstream_api.reports import Progress
from millstream_core.features import ContextFeatures
from millstream_trainer.learner import Learner
from millstream_trainer.pace import Pace
from millstream_trainer.sources.decoding import decode
from millstream_trainer.validation import SlidingValidation

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from millstream_api.settings import TrainerSettings
    from millstream_trainer.instruments import Instruments
    from millstream_trainer.model import LiveModel
    from millstream_trainer.publishing.link import StoreLink
    from millstream_trainer.publishing.restoring import Restorer
    from millstream_trainer.sources.protocol import Source

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 0.05  # between polls that bring nothing
REPORT_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 40.0  # to get the last version out; pods are killed after 60


class Clock(Protocol):
    """Time as the loop sees it."""

    @property
    def is_stopping(self) -> bool:
        """Whether the process was asked to end."""

    def now(self) -> float:
        """Unix seconds."""

    def wait(self, seconds: float) -> None:
        """Return after so long, or sooner when asked to end."""


class Trainer:
    """One worker, training one model."""

    def __init__(
        self,
        settings: TrainerSettings,
        source: Source,
        link: StoreLink,
        restorer: Restorer,
        instruments: Instruments,
        clock: Clock,
        worker: str,
        report: Callable[[Progress], None],
    ) -> None:
        self._settings = settings
        self._source = source
        self._link = link
        self._instruments = instruments
        self._clock = clock
        self._worker = worker
        self._report_to = report
        self._phase: Literal["Starting", "Restoring", "Training", "Draining"] = "Starting"
        self._features = ContextFeatures(settings.features)
        self._pace = Pace(clock.now())
        self._rejected: dict[str, int] = {}
        self._lag = 0.0
        self._reported_at = 0.0
        self.model = restorer.fresh_model()
        self._learner = self._learner_of(self.model)
        self._validation = SlidingValidation(settings.validation_window)

    def run(self) -> None:
        """Train until asked to end, then publish what is left.

        Raises:
            Diverged: the scores are not finite any more.
            Fenced: another trainer of this model has taken over.
        """
        self._begin()
        if self._link.is_busy:
            return  # asked to end before the store had answered: nothing was learned
        self._enter("Training")
        while not self._clock.is_stopping:
            self._attend()
            has_learned = self._step()
            self._link.publish_if_due(self.model, self._validate)
            self._report_if_due()
            if not has_learned:
                self._clock.wait(IDLE_SECONDS)
        self._drain()

    def _begin(self) -> None:
        """Ask the store once what there is; whether it answers or not, training starts."""
        self._enter("Restoring")
        self._attend()
        while self._link.is_busy and not self._clock.is_stopping:
            self._attend(timeout=REPORT_SECONDS)

    def _attend(self, timeout: float = 0.0) -> None:
        successor = self._link.attend(self.model, timeout=timeout)
        if successor is not None:
            self._go_on_from(successor)

    def _step(self) -> bool:
        """Learn the next batch, if it is complete."""
        polled = self._source.poll(self._settings.batch_size, self._clock.now())
        self._lag = polled.lag_seconds
        if not polled.records:
            return False
        began = perf_counter()
        batch = decode(polled.records, self._features, self._settings.tasks)
        self._count_rejected(batch.rejected)
        if len(batch):
            scores = self._learner.learn(batch)
            self._validation.add(scores.click, batch.label)
            if batch.conversion is not None:
                self._validation.add_conversions(scores.served, batch.conversion)
            self._link.learned(
                Watermark(first=float(batch.time.min()), last=float(batch.time.max()))
            )
        self.model.positions = polled.positions
        self._instruments.trained.inc(len(batch))
        self._pace.add(self._clock.now(), perf_counter() - began, len(batch))
        return True

    def _drain(self) -> None:
        """Publish what no version holds yet; give up in time to end by ourselves."""
        self._enter("Draining")
        deadline = self._clock.now() + DRAIN_SECONDS
        self._finish_job(deadline)
        for _ in range(2):  # again where keys were erased just before
            self._link.publish_if_due(self.model, self._validate, is_draining=True)
            self._finish_job(deadline)
        if self._link.is_busy:
            log.warning("the last version did not get out in %.0f s", DRAIN_SECONDS)
        self._report()

    def _finish_job(self, deadline: float) -> None:
        while self._link.is_busy and self._clock.now() < deadline:
            self._attend(timeout=REPORT_SECONDS)

    def _go_on_from(self, successor: LiveModel) -> None:
        self._instruments.replayed.inc(max(0, self.model.events - successor.events))
        log.info(
            "going on from step %d (was at %d), positions %s",
            successor.step,
            self.model.step,
            successor.positions,
        )
        self.model = successor
        self._learner = self._learner_of(successor)
        self._validation = SlidingValidation(self._settings.validation_window)
        self._source.seek(successor.positions)

    def _learner_of(self, model: LiveModel) -> Learner:
        return Learner(model, sparse_learning_rate=self._settings.sparse_learning_rate)

    def _validate(self) -> Validation:
        return self._validation.measure()

    def _count_rejected(self, rejected: Counter[str]) -> None:
        for reason, count in rejected.items():
            if reason not in self._rejected:
                log.warning("malformed events (%s) are left out and counted", reason)
            self._rejected[reason] = self._rejected.get(reason, 0) + count
            self._instruments.rejected.labels(reason).inc(count)

    # Reports

    def _enter(self, phase: Literal["Restoring", "Training", "Draining"]) -> None:
        self._phase = phase
        self._report()

    def _report_if_due(self) -> None:
        if self._clock.now() >= self._reported_at + REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        now = self._reported_at = self._clock.now()
        validation = self._validate()
        published = self._link.published
        progress = Progress(
            worker=self._worker,
            phase=self._phase,
            step=self.model.step,
            events=self.model.events,
            rejected=dict(self._rejected),
            events_per_second=self._pace.events_per_second(now),
            lag_seconds=self._lag,
            busy_ratio=self._pace.busy_ratio(now),
            auc=validation.auc,
            log_loss=validation.log_loss,
            conversion_auc=validation.conversion_auc,
            rows={name: len(table) for name, table in self.model.tables.items()},
            published=published and published.ref(),
            published_at=published and published.created_at,
            published_watermark=published and published.watermark,
            store=self._link.health,
        )
        self._instruments.observe_progress(progress)
        for name, life in self.model.lives.items():
            self._instruments.observe_life(name, life)
        self._report_to(progress)
