"""The model store as the operator sees it: read in the background, never waited for.

boto3 blocks, and a store that hangs may take half a minute to say so; a rollback must not wait
for that. So each RecServing has at most one read under way, in a thread, and a reconcile takes
what the last one found. A read that finishes wakes its object. Telling the store what is stable
works the same way: best effort, repeated by the next reconcile.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from millstream_api.conditions import Reason
from millstream_api.names import CHANNEL_LATEST
from millstream_core.store import (
    AccessDenied,
    IntegrityError,
    ModelStore,
    ObjectMissing,
    S3ObjectStore,
    StoreError,
)
from millstream_operator.decide.observed import Finding, Published, StoreView
from millstream_operator.shell.announcing import announce

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_api.settings import StoreSettings
    from millstream_operator.shell.announcing import Announcement
    from millstream_operator.shell.cache import Key

log = logging.getLogger(__name__)

THREADS: Final = 8
PATIENCE_SECONDS: Final = 0.5  # how long a reconcile waits for a read it has just begun
ANCESTORS: Final = 512
NOT_READ: Final = StoreView(
    Finding(Reason.NOT_CHECKED, "the store was not read yet"), reachable=None
)


@dataclass(frozen=True)
class Place:
    """A model in a store, and the credentials for it."""

    settings: StoreSettings
    model: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class Question:
    """What a reconcile wants to know."""

    place: Place
    stable: VersionRef | None
    quarantined: tuple[str, ...]
    number: int | None  # a version asked for by a person
    holder: str  # the channel in which this RecServing keeps versions


def read_store(store: ModelStore, question: Question) -> StoreView:
    """Read the newest version and its line down to stable; blocks, never raises StoreError."""
    try:
        latest = store.channel(CHANNEL_LATEST)
        target = None if latest is None else latest[0].target
        if target is None:
            asked = _find(store, question, None)
            health = Finding(Reason.WAITING_FOR_VERSION, "no version has been published yet")
            return StoreView(health, reachable=True, asked=asked)
        line: list[Published] = []
        # With nothing to meet on the way, the newest version is all there is to know.
        limit = ANCESTORS if question.stable or question.quarantined else 1
        for ref, manifest in store.ancestry(target, limit):
            line.append(_published(ref, manifest))
            if ref == question.stable:
                break
        asked = _find(store, question, target.lineage)
    except StoreError as error:
        return _away(error)
    health = Finding(Reason.REACHABLE, "the store answers")
    return StoreView(health, reachable=True, ancestry=tuple(line), asked=asked)


def _away(error: StoreError) -> StoreView:
    if isinstance(error, AccessDenied):
        reason = Reason.ACCESS_DENIED
    elif isinstance(error, IntegrityError | ObjectMissing):
        reason = Reason.UNREADABLE
    else:
        reason = Reason.UNREACHABLE
    return StoreView(Finding(reason, str(error)), reachable=False)


def _published(ref: VersionRef, manifest: Manifest) -> Published:
    watermark = manifest.watermark
    return Published(
        ref=ref,
        transform=manifest.transform,
        architecture=manifest.architecture.fingerprint(),
        watermark=None if watermark is None else watermark.last,
    )


def _find(store: ModelStore, question: Question, newest: str | None) -> Published | None:
    """The version of the number asked for, in the newest line or in stable's."""
    if question.number is None:
        return None
    lineages = [newest, question.stable.lineage if question.stable is not None else None]
    for lineage in dict.fromkeys(each for each in lineages if each is not None):
        try:
            ref = store.resolve(lineage, question.number)
            return _published(ref, store.manifest(ref))
        except ObjectMissing:
            continue
    return None


@dataclass
class _Reading:
    question: Question
    view: StoreView
    read_at: float
    answered: Question | None = None
    task: asyncio.Task[None] | None = None


class StoreReader:
    """All stores in use; belongs to one event loop, blocks in threads of its own."""

    def __init__(self, clock: Callable[[], float], wake: Callable[[Key], None], actor: str) -> None:
        """Read nothing yet.

        Args:
            clock: seconds that only grow.
            wake: called with a key when something new was found for it.
            actor: who we are, for the channel.
        """
        self._clock = clock
        self._wake = wake
        self._actor = actor
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="store")
        self._stores: dict[Place, ModelStore] = {}
        self._users: dict[Key, Place] = {}
        self._readings: dict[Key, _Reading] = {}
        self._announcing: dict[Key, asyncio.Task[bool]] = {}
        self._withdrawing: set[asyncio.Task[None]] = set()

    async def view(self, key: Key, question: Question, max_age: float) -> StoreView:
        """What the store held when it was last read, at most `max_age` seconds ago if it answers.

        Begins a read where the last one is older or was for another question, and waits for it
        briefly. Meanwhile the last answer stands; of an answer to another question only whether
        the store answers at all, since the line of versions ends where it was asked to.
        """
        known = self._readings.get(key)
        if known is None or known.question.place != question.place:
            self._stop(known)
            known = _Reading(question, NOT_READ, float("-inf"))
            self._readings[key] = known
        stale = known.question != question or self._clock() - known.read_at >= max_age
        if stale and known.task is None:
            known.question = question
            known.task = asyncio.create_task(self._read(key, known))
            await asyncio.wait({known.task}, timeout=PATIENCE_SECONDS)
        if known.answered != question:
            return replace(known.view, ancestry=(), asked=None)
        return known.view

    def announce(self, key: Key, place: Place, told: Announcement, now: float) -> str | None:
        """Begin to tell the store; the announcement's digest once that is done."""
        task = self._announcing.get(key)
        if task is not None and not task.done():
            return None
        if task is not None:
            del self._announcing[key]
            if task.get_name() == told.digest and not task.cancelled() and task.result():
                return told.digest
        self._announcing[key] = asyncio.create_task(
            self._announce(key, place, told, now), name=told.digest
        )
        return None

    def forget(self, key: Key) -> None:
        """The object is gone, and what it kept in the store may go."""
        reading = self._readings.pop(key, None)
        self._stop(reading)
        announcing, store = self._announcing.pop(key, None), self._free(key)
        if store is not None and reading is not None:
            holder = reading.question.holder
            task = asyncio.create_task(self._withdraw(key, store, holder, announcing))
            self._withdrawing.add(task)
            task.add_done_callback(self._withdrawing.discard)

    async def close(self) -> None:
        """End what is under way; threads that hang in a socket end by its time limit."""
        tasks = [each.task for each in self._readings.values() if each.task is not None]
        for task in (*tasks, *self._announcing.values(), *self._withdrawing):
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _read(self, key: Key, reading: _Reading) -> None:
        question = reading.question
        loop = asyncio.get_running_loop()
        try:
            store = await self._store(key, question.place)
            view = await loop.run_in_executor(self._threads, read_store, store, question)
        except Exception:
            # A mistake of ours must not end in silence: the object would wait for ever.
            log.exception("%s: reading the store failed", key)
            found = Finding(Reason.INTERNAL_ERROR, "reading the store failed; see the log")
            view = StoreView(found, reachable=None)
        finally:
            reading.task = None
        changed = view != reading.view or question != reading.answered
        reading.view, reading.read_at, reading.answered = view, self._clock(), question
        if changed:
            self._wake(key)

    async def _announce(self, key: Key, place: Place, told: Announcement, now: float) -> bool:
        loop = asyncio.get_running_loop()
        try:
            store = await self._store(key, place)
            await loop.run_in_executor(self._threads, announce, store, told, self._actor, now)
        except StoreError as error:
            log.info("%s: the channel stable is not moved yet: %s", key, error)
            return False
        self._wake(key)
        return True

    async def _withdraw(
        self, key: Key, store: ModelStore, holder: str, announcing: asyncio.Task[bool] | None
    ) -> None:
        loop = asyncio.get_running_loop()
        if announcing is not None:
            # Its thread cannot be stopped, and would make the channel anew.
            await asyncio.wait({announcing})
            self._free(key)
        try:
            await loop.run_in_executor(self._threads, store.remove_channel, holder)
        except StoreError as error:
            log.warning("%s: what it kept in the store stays, channel %s: %s", key, holder, error)

    def _free(self, key: Key) -> ModelStore | None:
        """Have an object use no store any more; returns the one that it used."""
        place = self._users.pop(key, None)
        if place is None or place in self._users.values():
            return None if place is None else self._stores.get(place)
        return self._stores.pop(place, None)

    async def _store(self, key: Key, place: Place) -> ModelStore:
        """The store of a place; making a client reads files, so that happens in a thread."""
        before = self._users.get(key)
        self._users[key] = place
        if before is not None and before not in self._users.values():
            self._stores.pop(before, None)
        if place not in self._stores:
            loop = asyncio.get_running_loop()
            self._stores[place] = await loop.run_in_executor(self._threads, _open, place)
        return self._stores[place]

    @staticmethod
    def _stop(reading: _Reading | None) -> None:
        if reading is not None and reading.task is not None:
            reading.task.cancel()


def _open(place: Place) -> ModelStore:
    objects = S3ObjectStore(
        place.settings, access_key=place.access_key, secret_key=place.secret_key
    )
    return ModelStore(objects, place.settings.prefix, place.model)
