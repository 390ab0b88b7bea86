"""One version after the other brought to a server, as an operator does it, and some taken back."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream_api.release import Release
from tests.builders.server_process import ServerProcess, advance
from tests.builders.serving import Publisher, random_rows, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream_api.manifest import VersionRef
    from tests.builders.load import Answer

EVERY_SECONDS = 1.0  # from one version to the next
CHANGED, COMING = 1_000, 100  # users of a delta: with another row, and new ones for as many that go
NEWCOMERS = 1_000_000  # the first of them
ITEMS = 500  # of a delta, with another row
BASE_EVERY, BAD_EVERY, BACK_EVERY = 40, 7, 11  # versions
WARM = 2  # versions held beside stable
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Followed:
    """When a release was written, and the versions that it lets answer."""

    written: float
    versions: frozenset[int]
    reported: float  # the server said that it follows it


class Rollouts:
    """Publishes, releases, waits until the server has followed, and remembers what was allowed."""

    def __init__(self, publisher: Publisher) -> None:
        """Stable is what was published last."""
        assert publisher.latest is not None
        self.release = Release(epoch=1, salt="1", stable=publisher.latest.ref())
        self.taken = self.rollbacks = 0
        self._publisher = publisher
        self._number = publisher.latest.version
        self._past: list[Followed] = []

    def go_on(self, server: ServerProcess) -> None:
        """The next version: to half of the users, then to all, or back; in a second or more."""
        began = time.monotonic()
        if not self._past:
            self._put(server)
        self._number += 1
        is_bad = self._number % BAD_EVERY == 0
        before = self.release.stable
        assert before is not None
        writer = self._publisher.fork() if is_bad else self._publisher
        new = self._publish(writer)
        self._put(server, salt=str(new.version), candidate=new, advanced=5, mode="Gray")
        self.taken += 1
        if is_bad:
            self.rollbacks += 1
            self._put(server, candidate=None, advanced=0, mode="Steady", quarantined=(new.digest,))
        else:
            hold = (before, *self.release.hold)[:WARM]
            self._put(server, stable=new, candidate=None, advanced=0, hold=hold, mode="Steady")
            if self._number % BACK_EVERY == 0:
                self._put(server, stable=before, hold=(new, *hold[1:]), mode="Pinned")
                self._put(server, stable=new, hold=hold, mode="Steady")
                self.rollbacks += 1
        time.sleep(max(0.0, began + EVERY_SECONDS - time.monotonic()))

    def strangers(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers of a version that no release in force at the time let answer."""
        return [each for each in answers if each.version not in self._allowed(each)]

    def _allowed(self, answer: Answer) -> set[int]:
        """A release may answer from its writing until the server follows the one after it."""
        allowed: set[int] = set()
        for i in range(len(self._past) - 1, -1, -1):
            if self._past[i].written <= answer.received:
                allowed |= self._past[i].versions
                if self._past[i].reported <= answer.sent:
                    break
        return allowed

    def _put(self, server: ServerProcess, **changes: Any) -> None:
        changes["epoch"] = self.release.epoch + 1
        self.release = release = self.release.changed(**changes)
        versions = frozenset(
            each.version for each in (release.stable, release.candidate) if each is not None
        )
        written = time.monotonic()
        advance(server.release_file, release)

        def follows() -> bool:
            report = server.report()
            return report.epoch == release.epoch and report.candidate == release.candidate

        until(follows, f"release {release.epoch}", PATIENCE_SECONDS)
        self._past.append(Followed(written, versions, time.monotonic()))

    def _publish(self, writer: Publisher) -> VersionRef:
        number = self._number
        users = list(writer.tables["user"])  # whoever came first stands first
        going = users[:COMING]
        changed = random.Random(number).sample(users[COMING:], CHANGED)
        coming = range(NEWCOMERS + number * COMING, NEWCOMERS + (number + 1) * COMING)
        drawn = random_rows(writer, CHANGED + COMING, ITEMS, seed=number)
        rows = {
            name: dict(zip([*changed, *coming], drawn[name].values(), strict=True))
            for name in ("user", "history")
        }
        return writer.publish(
            {**rows, "item": drawn["item"]},
            gone={"user": going, "history": going},
            base=number % BASE_EVERY == 0,
            version=number,
        )
