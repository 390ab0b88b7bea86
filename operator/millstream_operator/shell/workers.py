"""Takes keys from the queue and has them looked at; no failure of one object reaches another.

looked ──► again after what the reconcile says      conflict ──► at once, from a fresh copy
no answer, refused ──► after a pause that doubles   gone ──► forgotten
breaks a rule, or our mistake ──► Stalled, with the reason, and a pause that doubles
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from millstream_api.conditions import Reason, fails, holds, merge
from millstream_api.recserving import RecServingStatus
from millstream_api.rectraining import RecTrainingStatus
from millstream_api.resources import at
from millstream_operator.decide.observed import Finding
from millstream_operator.shell.errors import ApiError, Conflict, NotFound
from millstream_operator.shell.kinds import BY_KIND
from millstream_operator.shell.parents import InvalidObject, Status, read_status
from millstream_operator.shell.queue import KeyedQueue, QueueClosed
from millstream_operator.shell.serving import reconcile_serving
from millstream_operator.shell.training import reconcile_training

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_operator.shell.cache import Key
    from millstream_operator.shell.kinds import Body
    from millstream_operator.shell.workspace import Workspace

log = logging.getLogger(__name__)

WORKERS: Final = 8
DEADLINE_SECONDS: Final = 60.0
STALLED_LOOK_SECONDS: Final = 60.0  # an edit is looked at when it comes


class Workers:
    """Belongs to one event loop."""

    def __init__(self, work: Workspace, queue: KeyedQueue[Key], clock: Callable[[], float]) -> None:
        """Nothing runs yet."""
        self._work = work
        self._queue = queue
        self._clock = clock
        self._said: dict[Key, str] = {}

    async def run(self) -> None:
        """Work until the queue is closed; what is being worked on then is finished."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosed:
                return
            began = self._clock()
            outcome = await self._look(key)
            self._work.metrics.reconciles.labels(key.kind, outcome).inc()
            self._work.metrics.reconcile_seconds.labels(key.kind).observe(self._clock() - began)

    async def _look(self, key: Key) -> str:
        """Look at one object and put it back as that went; returns the outcome in a word."""
        body = self._work.cache.get(*key)
        if body is None:
            self._forget(key)
            return "gone"
        if body["metadata"].get("deletionTimestamp") is not None:
            self._queue.done(key, None)
            return "deleted"
        reconcile = reconcile_training if key.kind == "RecTraining" else reconcile_serving
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                wake_after = await reconcile(self._work, key, body)
        except NotFound as error:
            # The object, or one beside it, is gone, and the watch has not said so yet.
            return await self._missing(key, error)
        except Conflict as error:
            self._say(key, f"looking again: {error}", logging.DEBUG)
            self._queue.done(key, 0.0)
            return "conflict"
        except ApiError as error:
            pause = self._queue.retry(key)
            self._say(key, f"trying again: {error}", logging.WARNING)
            log.debug("%s: trying again in %.1f s", key, pause)
            return "failed"
        except TimeoutError:
            self._queue.retry(key)
            self._say(key, f"no end within {DEADLINE_SECONDS:.0f} s", logging.ERROR)
            return "timeout"
        except InvalidObject as error:
            await self._stall(key, body, Finding(Reason.INVALID_SPEC, str(error)))
            self._queue.done(key, STALLED_LOOK_SECONDS)
            return "invalid"
        except Exception:
            log.exception("%s: a mistake of the operator's", key)
            told = "the operator has made a mistake; its log says more"
            await self._stall(key, body, Finding(Reason.INTERNAL_ERROR, told))
            self._queue.retry(key)
            return "error"
        self._said.pop(key, None)
        self._queue.done(key, wake_after)
        return "done"

    async def _missing(self, key: Key, error: NotFound) -> str:
        try:
            self._work.cache.refresh(
                await self._work.api.get(BY_KIND[key.kind], key.namespace, key.name)
            )
        except NotFound:
            self._work.cache.drop(*key)
            self._forget(key)
            return "gone"
        except ApiError:
            pass
        self._queue.retry(key)
        self._say(key, f"trying again: {error}", logging.WARNING)
        return "failed"

    async def _stall(self, key: Key, body: Body, found: Finding) -> None:
        """Say on the object that nothing can be done; as far as that can be said."""
        try:
            if key.kind == "RecTraining":
                await self._say_stalled(key, body, read_status(body, RecTrainingStatus), found)
            else:
                await self._say_stalled(key, body, read_status(body, RecServingStatus), found)
        except ApiError as error:
            log.warning("%s: %s, and that cannot be said on it: %s", key, found.message, error)

    async def _say_stalled(self, key: Key, body: Body, before: Status, found: Finding) -> None:
        generation = body["metadata"]["generation"]
        after = before.model_copy(
            update={
                "observed_generation": generation,
                "conditions": merge(
                    before.conditions,
                    (
                        fails("Ready", found.reason, found.message),
                        holds("Stalled", found.reason, found.message),
                    ),
                    generation=generation,
                    now=at(self._work.wall()),
                ),
            }
        )
        await self._work.statuses.write(key, body, before, after)

    def _forget(self, key: Key) -> None:
        self._queue.forget(key)
        self._said.pop(key, None)
        self._work.children.forget(key)
        self._work.stores.forget(key)
        self._work.metrics.forget(key)

    def _say(self, key: Key, text: str, level: int) -> None:
        """Log what is said of an object when it changes."""
        if self._said.get(key) != text:
            self._said[key] = text
            log.log(level, "%s: %s", key, text)
