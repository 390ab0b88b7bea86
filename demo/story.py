"""The order of things: what is done, what is waited for, and what is measured on the way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from demo import faults
from demo.answers import Log
from demo.installation import NAMESPACE
from demo.measures import PublishedVersion
from demo.observer import Observation
from demo.traffic import Audience, send_traffic
from millstream_api.names import ANNOTATION_ROLLBACK_TO, CHANNEL_LATEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.installation import Installation
    from demo.observer import Observer
    from demo.view import View
    from millstream_api.manifest import VersionRef
    from millstream_core.store import ModelStore

NAME: Final = "shop"
STEADY_SECONDS: Final = 90.0
STEADY_PROMOTIONS: Final = 3
LOOK_SECONDS: Final = 0.5


class StoryError(Exception):
    """Something that had to happen did not; the message says what and what was seen instead."""


@dataclass(frozen=True)
class Fault:
    """A bad version and what became of it."""

    name: str
    ref: VersionRef
    published_at: float
    verdict_at: float
    reason: str
    message: str


@dataclass
class Chronicle:
    """What happened, for the report."""

    log: Log = field(default_factory=Log)
    first_stable: VersionRef | None = None
    first_stable_at: float = 0.0
    suspended_at: float = 0.0
    rollback: tuple[int, float] | None = None  # version rolled back from, when it was asked
    faults: list[Fault] = field(default_factory=list)
    versions: list[PublishedVersion] = field(default_factory=list)
    server_restarts: int = 0
    servers: set[frozenset[str]] = field(default_factory=set)


def _is_quarantined(ref: VersionRef, seen: Observation) -> bool:
    return seen.is_quarantined(ref.digest)


class Story:
    """Walks through the stages; one object per run."""

    def __init__(
        self, installation: Installation, observer: Observer, store: ModelStore, view: View
    ) -> None:
        self._installation = installation
        self._observer = observer
        self._store = store
        self._view = view
        self.told = Chronicle()
        self._seen = Observation()

    async def tell(self) -> Chronicle:
        """All stages in their order.

        Raises:
            StoryError: a stage did not end in time.
        """
        await self._until("first version", "training to publish", 60, lambda s: bool(s.published))
        await self._until("first release", "servers to load it", 60, lambda s: s.stable is not None)
        assert self._seen.serving.release is not None
        self.told.first_stable = self._seen.serving.release.stable
        self.told.first_stable_at = time.time()

        settings = self._observer.trainer_settings(NAME)
        if settings is None:
            raise StoryError("the operator wrote no settings for the trainer")
        stop = asyncio.Event()
        url = self._installation.service_url(NAMESPACE, NAME)
        traffic = asyncio.create_task(send_traffic(url, Audience(settings), self.told.log, stop))
        try:
            await self._watch_fresh_versions()
            await self._publish_faults()
            # The trainer starts while the rollback is shown.
            self._patch("rectraining", '{"spec":{"suspend":false}}')
            await self._roll_back()
            await self._await_good_version()
        finally:
            stop.set()
            await traffic
        return self.told

    async def _watch_fresh_versions(self) -> None:
        began, at_start = time.time(), self._seen.stable or 0
        promoted = {at_start}

        def is_long_enough(seen: Observation) -> bool:
            promoted.add(seen.stable or 0)
            long_enough = time.time() - began >= STEADY_SECONDS
            return long_enough and len(promoted) > STEADY_PROMOTIONS

        await self._until(
            "fresh versions", "several to reach all users", STEADY_SECONDS, is_long_enough
        )
        newest = self._seen.published or 0
        self._patch("rectraining", '{"spec":{"suspend":true}}')
        self.told.suspended_at = time.time()
        await self._until("suspended", "the trainer to leave", 30, lambda s: s.trainer_pods == 0)
        found = self._store.channel(CHANNEL_LATEST)
        assert found is not None
        last = found[0].target
        assert last is not None, "something was published"
        await self._until(
            "catching up",
            f"version {last} to reach all users",
            40,
            lambda s: s.stable == last.version and s.serving.phase == "Steady",
        )
        for ref, manifest in self._store.ancestry(last):
            assert self.told.first_stable is not None
            is_measured = self.told.first_stable.version < ref.version <= newest
            if is_measured and manifest.watermark is not None:
                self.told.versions.append(
                    PublishedVersion(ref.version, manifest.watermark.first, manifest.watermark.last)
                )

    async def _publish_faults(self) -> None:
        for name, damage in (
            ("rows that are not finite", faults.with_nan_rows),
            ("item rows with their sign flipped", faults.with_flipped_signs),
        ):
            release = self._seen.serving.release
            assert release is not None
            assert release.stable is not None
            published_at = time.time()
            ref = await asyncio.to_thread(
                faults.publish_damaged, self._store, release.stable, damage
            )
            await self._until(
                f"bad version {ref}",
                f"{name} to be found out",
                15,
                partial(_is_quarantined, ref),
            )
            [entry] = [e for e in self._seen.serving.quarantined if e.digest == ref.digest]
            self._view.say(f"version {ref} quarantined, {entry.reason}: {entry.message}")
            self.told.faults.append(
                Fault(name, ref, published_at, entry.at.timestamp(), entry.reason, entry.message)
            )

    async def _roll_back(self) -> None:
        stable = self._seen.stable
        release = self._seen.serving.release
        if stable is None or release is None or not release.hold:
            raise StoryError("no earlier version is kept warm to roll back to")
        target = release.hold[0].version
        asked = time.time()
        self._annotate(f"{ANNOTATION_ROLLBACK_TO}={target}")
        await self._until(
            f"rollback to version {target}", "servers to follow", 10, lambda s: s.stable == target
        )
        await asyncio.sleep(5)  # answers that would still be wrong show now
        self.told.rollback = (stable, asked)
        self._annotate(f"{ANNOTATION_ROLLBACK_TO}-")

    async def _await_good_version(self) -> None:
        worst = max(fault.ref.version for fault in self.told.faults)
        await self._until(
            "training goes on",
            "a version that descends from no bad one to reach all users",
            60,
            lambda s: s.stable is not None and s.stable > worst,
        )

    async def _until(
        self,
        name: str,
        waits_for: str,
        expected: float,
        condition: Callable[[Observation], bool],
    ) -> None:
        """Look again and again until the condition holds; four times as long as expected."""
        self._view.stage(name, waits_for, expected)
        deadline = time.time() + 4 * expected + 30
        while True:
            self._seen = await asyncio.to_thread(self._observer.look, NAME)
            self.told.server_restarts = max(self.told.server_restarts, self._seen.server_restarts)
            if self.told.first_stable is not None:
                self.told.servers.add(self._seen.servers)
            self._view.show(self._seen, self.told.log)
            if condition(self._seen):
                return
            if time.time() > deadline:
                raise StoryError(
                    f"waited {4 * expected + 30:.0f} s for {waits_for}; "
                    f"conditions: {', '.join(self._seen.reasons) or 'nothing to complain about'}"
                )
            await asyncio.sleep(LOOK_SECONDS)

    def _patch(self, kind: str, patch: str) -> None:
        self._installation.kubectl(
            "-n", NAMESPACE, "patch", kind, NAME, "--type=merge", "-p", patch
        )

    def _annotate(self, annotation: str) -> None:
        self._installation.kubectl(
            "-n", NAMESPACE, "annotate", "recserving", NAME, annotation, "--overwrite"
        )
