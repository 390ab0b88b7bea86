"""Trainers put together for tests: virtual time, jobs in line, a stream of known records."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from millstream_api.settings import StoreSettings, SyntheticSource, TrainerSettings
from millstream_core.store import ModelStore
from millstream_trainer.design import Design
from millstream_trainer.instruments import Instruments
from millstream_trainer.main import build_trainer
from millstream_trainer.publishing.versions import Fenced
from millstream_trainer.sources.decoding import EventBatch
from millstream_trainer.sources.protocol import Polled, batch_end
from millstream_trainer.sources.synthetic import SyntheticStream
from tests.builders.objects import MemoryObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from millstream_api.manifest import Manifest
    from millstream_api.reports import Progress
    from millstream_core.features import Encoded
    from millstream_core.store import Listed, ObjectStore, Stored
    from millstream_core.telemetry.exporting import SpanExporter
    from millstream_trainer.loop import Clock, Trainer
    from millstream_trainer.publishing.background import Background
    from millstream_trainer.publishing.jobs import Outcome
    from millstream_trainer.sources.protocol import Source

torch.set_num_threads(1)  # small steps on a shared machine: threads would wait for each other

START = 1_700_000_000.0
T = TypeVar("T")


def make_settings(**overrides: Any) -> TrainerSettings:
    """A small, fast model on 200 generated events a second; first version after 10 seconds."""
    fields: dict[str, Any] = {
        "model": "shop",
        "store": StoreSettings(bucket="models", prefix="tests"),
        "synthetic": SyntheticSource(start=START, seed=7, users=300, items=200),
        "embedding_dim": 8,
        "history_length": 5,
        "batch_size": 64,
        "publish_interval_seconds": 1.0,
        "base_every": 4,
        "base_share": 1e9,
        "validation_window": 2000,
    }
    return TrainerSettings(**(fields | overrides))


class VirtualClock:
    """Time that passes only where the loop waits; asks to stop at `end`."""

    def __init__(self, start: float = START, *, seconds: float = 20.0) -> None:
        self._now = start
        self.end = start + seconds
        self.at: list[tuple[float, Callable[[], None]]] = []  # what happens when

    @property
    def is_stopping(self) -> bool:
        return self._now >= self.end

    def now(self) -> float:
        return self._now

    def wait(self, seconds: float) -> None:
        self._now += seconds
        due = [happens for when, happens in self.at if when <= self._now]
        self.at = [(when, happens) for when, happens in self.at if when > self._now]
        for happens in due:
            happens()

    def happens(self, after: float, what: Callable[[], None]) -> None:
        """Do something so many seconds from now."""
        self.at.append((self._now + after, what))


class InlineJobs:
    """A Background whose jobs are done the moment they start."""

    def __init__(self) -> None:
        self._done: list[Outcome | Fenced] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._done)

    def start(self, job: Callable[[], Outcome]) -> None:
        assert not self._done, "one job at a time"
        try:
            self._done.append(job())
        except Fenced as error:
            self._done.append(error)

    def result(self, timeout: float = 0.0) -> Outcome | None:
        del timeout
        if not self._done:
            return None
        done = self._done.pop()
        if isinstance(done, Fenced):
            raise done
        return done


class RecordSource:
    """A stream of given records, one partition; `times` are when the broker got them."""

    def __init__(self, records: Sequence[Any], times: Sequence[float]) -> None:
        self._records, self._times = records, np.array(times, np.float64)
        self._offset = 0

    def poll(self, limit: int, now: float) -> Polled:
        times = self._times[self._offset :]
        count = batch_end(times[times <= now], limit, now)
        first, self._offset = self._offset, self._offset + count
        return Polled(self._records[first : self._offset], {"0": self._offset}, 0.0)

    def seek(self, positions: Mapping[str, int]) -> None:
        self._offset = positions.get("0", 0)


def make_record(**overrides: Any) -> dict[str, Any]:
    return {"user_id": 1, "item_id": 2, "label": 1, "event_time": START} | overrides


def make_batch(
    users: Sequence[int],
    items: Sequence[int],
    labels: Sequence[int],
    time: float = START,
    context: Encoded | None = None,
) -> EventBatch:
    return EventBatch(
        np.array(users, np.int64),
        np.array(items, np.int64),
        np.array(labels, np.float32),
        np.full(len(users), time),
        context=context,
    )


class Run:
    """One trainer process, in this process."""

    def __init__(
        self,
        objects: ObjectStore | None = None,
        settings: TrainerSettings | None = None,
        source: Source | None = None,
        clock: Clock | None = None,
        background: Background[Outcome] | None = None,
        worker: str = "shop-trainer-0",
        process: str = "a1b2c3d4",
        exporter: SpanExporter | None = None,
    ) -> None:
        self.objects = objects if objects is not None else MemoryObjects()
        self.settings = settings or make_settings()
        self.clock = clock or VirtualClock()
        self.instruments = Instruments()
        self.reports: list[Progress] = []
        assert self.settings.synthetic is not None
        self.trainer: Trainer = build_trainer(
            self.settings,
            source or SyntheticStream(self.settings.synthetic),
            self.objects,
            self.clock,
            self.instruments,
            self.reports.append,
            background=background or InlineJobs(),
            worker=worker,
            token=process,
            exporter=exporter,
        )

    def run(self) -> Run:
        self.trainer.run()
        return self

    def value(self, metric: str, **labels: str) -> float:
        found = self.instruments.registry.get_sample_value(f"millstream_training_{metric}", labels)
        return found or 0.0


def store_of(objects: ObjectStore, settings: TrainerSettings | None = None) -> ModelStore:
    settings = settings or make_settings()
    return ModelStore(objects, settings.store.prefix, settings.model)


def manifests(objects: ObjectStore, settings: TrainerSettings | None = None) -> dict[int, Manifest]:
    """All committed versions by number."""
    settings = settings or make_settings()
    store, lineage = store_of(objects, settings), Design.of(settings).lineage()
    return {
        number: store.manifest(store.resolve(lineage, number)) for number in store.commits(lineage)
    }


def state_of(manifest: Manifest) -> dict[str, Any]:
    """Everything learned that a version holds: where in the stream, and the bits."""
    return {
        "step": manifest.step,
        "positions": manifest.positions,
        "tables": {name: table.digest_after for name, table in manifest.tables.items()},
        "dense": {group: held.sha256 for group, held in manifest.dense.items()},
    }


class Killed(BaseException):
    """Ends a trainer as SIGKILL would: nothing can catch it."""


class DeadlyObjects:
    """An ObjectStore whose client dies at its n-th call, before or after the call took effect."""

    def __init__(self, objects: MemoryObjects, calls: int, *, after: bool) -> None:
        self._objects = objects
        self._left = calls
        self._after = after
        self._lock = threading.Lock()

    def get(self, key: str, at_most: int | None = None) -> Stored:
        return self._call(lambda: self._objects.get(key, at_most))

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        return self._call(
            lambda: self._objects.put(key, data, if_absent=if_absent, if_match=if_match)
        )

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._call(lambda: self._objects.list(prefix))

    def delete(self, key: str) -> None:
        self._call(lambda: self._objects.delete(key))

    def _call(self, call: Callable[[], T]) -> T:
        with self._lock:
            if self._left < 1:
                raise Killed
            self._left -= 1
            is_last = self._left == 0
            if is_last and not self._after:
                raise Killed
            done = call()
            if is_last:
                raise Killed
            return done
