"""A model in use: trainers, an operator, servers, a compactor and collectors at one store.

Each of them is the real code, or keeps to the protocol of the real one, and is one process after
the other: whoever dies is followed by a new one that knows nothing but what the store holds. What
anybody does here is a verb of `World`; a further verb is a further method named in `VERBS`.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from millstream_api.manifest import Validation, Watermark
from millstream_api.names import CHANNEL_LATEST, CHANNEL_STABLE
from millstream_api.upkeep import Lease
from millstream_core.erasure.entries import read_ledger
from millstream_core.erasure.redacting import Redactor
from millstream_core.erasure.requests import erase, finish
from millstream_core.store import IntegrityError, ModelStore, StoreError
from millstream_core.store.layout import folder_of, lease_key
from millstream_core.upkeep.collecting import collect
from millstream_core.upkeep.compaction import Compactor, compact
from millstream_core.upkeep.retention import RetentionRules
from millstream_operator.shell.announcing import Announcement, announce
from millstream_serving.loading.checks import Refused, Unsettled
from millstream_serving.loading.shelf import Shelf
from millstream_trainer.design import Design
from millstream_trainer.instruments import Instruments
from millstream_trainer.publishing.link import StoreLink
from millstream_trainer.publishing.restoring import Restorer, quarantined
from millstream_trainer.publishing.versions import Fenced, Writer
from tests.builders.mishaps import Connection, Inline, Mishap
from tests.builders.objects import MemoryObjects
from tests.builders.stream import KEYS, PARTITION, KnownStream
from tests.builders.trainer import START, InlineJobs, Killed, make_settings

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_core.erasure.ledger import Ledger

SALT = bytes(range(32))
RULES = RetentionRules(keep_versions=1, grace_seconds=50)
SETTINGS = make_settings(
    tables={"user": {"servedAs": "int8"}}, base_every=7, publish_interval_seconds=1
)
DESIGN = Design.of(SETTINGS)
LINEAGE = DESIGN.lineage()
CPU = torch.device("cpu")
# Who is busy while doing what; others are a new process each time.
ACTORS = {
    "publish": "trainer",
    "restart_trainer": "trainer",
    "serve": "server",
    "restart_server": "server",
    "take_candidate": "operator",
    "promote": "operator",
    "roll_back": "operator",
}
VERBS = ("learn", "compact", "collect", "erase", "finish_erasing", "wait", "read", *ACTORS)
LEASE_SECONDS = 2000.0
HELD = 3  # versions that the operator keeps to go back to, the stable one among them


def store_at(connection: Any) -> ModelStore:
    return ModelStore(connection, SETTINGS.store.prefix, SETTINGS.model)


class Recorder(MemoryObjects):
    """Remembers what immutable objects hold, and that nobody ever writes them otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[str, bytes] = {}

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        tag = super().put(key, data, if_absent=if_absent, if_match=if_match)
        if {"commit", "manifest", "data", "writer", "merged"} & set(key.split("/")):
            assert self.written.setdefault(key, data) == data, f"{key} was written twice"
        return tag


class TrainerProcess:
    """From start to end of one trainer: its live model, and its side of the store."""

    def __init__(self, world: World, token: str) -> None:
        self._world = world
        self.token = token
        self.connection = Connection(world.objects)
        self.store = store_at(self.connection)
        restorer = Restorer(self.store, Inline(), DESIGN, 0.001, CPU, SETTINGS.tables)
        writer = Writer(self.store, Inline(), DESIGN, SETTINGS.model, "trainer", token, "test")
        self._link = StoreLink(
            writer, restorer, InlineJobs(), SETTINGS, Instruments(), lambda: world.now
        )
        self.model = restorer.fresh_model()

    def publish(self) -> None:
        """Meet the store if need be, learn a little, and publish."""
        for _ in range(2):  # settle what was left, start and settle what is due before a version
            self._attend()
        self.learn(3)
        self._link.publish_if_due(self.model, lambda: Validation(events=0))
        self._attend()

    def learn(self, count: int) -> None:
        before = self.model.events
        self._world.stream.learn(self.model, count)
        times = START + 60.0 * before, START + 60.0 * self.model.events
        self._link.learned(Watermark(first=times[0], last=times[1]))

    def _attend(self) -> None:
        self._world.now += 100
        successor = self._link.attend(self.model)
        if successor is not None:
            self.model = successor
            self._world.stream.assert_live(successor)


class World:
    """Everybody, and the one store."""

    def __init__(self, seed: int) -> None:
        self.objects = Recorder()
        self.stream = KnownStream(DESIGN, seed)
        self.now = START
        self._names = itertools.count(1)
        self._busy: set[str] = set()
        self.knew: dict[str, frozenset[str]] = {}  # quarantined when a trainer began to publish
        self.trainers = [self._start_trainer(), self._start_trainer()]
        self.operator = Connection(self.objects)
        self.stable: VersionRef | None = None
        self.candidate: VersionRef | None = None
        self.hold: tuple[VersionRef, ...] = ()
        self.quarantined: tuple[str, ...] = ()
        self.server = self._start_server()
        self.refused: dict[str, VersionRef] = {}
        self.readers: dict[str, tuple[VersionRef, float]] = {}  # what is leased, until when

    def act(self, verb: str, who: int, mishap: Mishap | None = None) -> None:
        """Somebody does something, unless busy, and something may happen to them meanwhile."""
        actor = ACTORS.get(verb, "")
        actor = f"{actor} {who % 2}" if actor == "trainer" else actor
        if actor in self._busy:
            return
        busy, self._busy = self._busy, self._busy | ({actor} if actor else set())
        try:
            getattr(self, verb)(who, mishap)
        finally:
            self._busy = busy

    # Verbs

    def learn(self, who: int, _: Mishap | None) -> None:
        """Also while a version of what was learned before is on its way."""
        self.trainers[who % 2].learn(1 + who)

    def publish(self, who: int, mishap: Mishap | None) -> None:
        trainer = self.trainers[who % 2]
        self.knew[trainer.token] = frozenset(quarantined(store_at(self.objects)))
        trainer.connection.expect(mishap)
        try:
            trainer.publish()
        except (Killed, Fenced):
            self.restart_trainer(who, None)

    def restart_trainer(self, who: int, _: Mishap | None) -> None:
        self.trainers[who % 2] = self._start_trainer()

    def serve(self, _: int, mishap: Mishap | None) -> None:
        """Hold what the operator wants held; a version that cannot be read is refused for good."""
        connection, shelf = self.server
        connection.expect(mishap)
        wanted = {ref.digest: ref for ref in self.wanted()}
        shelf.drop_all_but(set(wanted))
        try:
            ledger = read_ledger(store_at(connection), shelf.ledger)
            if ledger is not shelf.ledger:
                shelf.forget(ledger)
            for ref in wanted.values():
                if ref.digest not in shelf.held and ref.digest not in self.refused:
                    try:
                        shelf.load(ref, wanted.__contains__, lambda _: None)
                    except Refused:
                        self.refused[ref.digest] = ref
                    except Unsettled:  # to be tried again
                        pass
        except StoreError:
            pass
        except Killed:
            self.restart_server(0, None)

    def restart_server(self, _: int, __: Mishap | None) -> None:
        self.server = self._start_server()
        self.refused = {}

    def take_candidate(self, _: int, mishap: Mishap | None) -> None:
        """The newest version is brought to users, unless it is built upon a quarantined one."""
        self.operator.expect(mishap)
        try:
            found = store_at(self.operator).channel(CHANNEL_LATEST)
            if found is not None and self.candidate is None:
                target = found[0].target
                line = list(store_at(self.operator).ancestry(target))
                is_new = target not in (self.stable, *self.hold)
                if is_new and not {ref.digest for ref, _ in line} & set(self.quarantined):
                    self.candidate = target
            self._announce()
        except (StoreError, Killed):
            self._restart_operator()

    def promote(self, _: int, mishap: Mishap | None) -> None:
        """Servers must hold a candidate before it can be promoted."""
        self.operator.expect(mishap)
        if self.candidate is not None and self.candidate.digest in self.server[1].held:
            before = () if self.stable is None else (self.stable,)
            self.hold = (*before, *self.hold)[: HELD - 1]
            self.stable, self.candidate = self.candidate, None
        elif self.candidate is not None and self.candidate.digest in self.refused:
            self.quarantined = (*self.quarantined, self.candidate.digest)
            self.candidate = None
        self._tell()

    def roll_back(self, _: int, mishap: Mishap | None) -> None:
        """Away from the candidate, or to the version before the stable one."""
        self.operator.expect(mishap)
        if self.candidate is not None:
            bad, self.candidate = self.candidate, None
        elif self.stable is not None and self.hold:
            bad, (self.stable, *rest) = self.stable, self.hold
            self.hold = tuple(rest)
        else:
            return
        self.quarantined = (*self.quarantined, bad.digest)
        self._tell()

    def compact(self, who: int, mishap: Mishap | None) -> None:
        store = store_at(self._fresh(mishap))
        try:
            channel = store.channel(CHANNEL_LATEST if who % 2 else CHANNEL_STABLE)
            if channel is not None:
                compact(Compactor(store, Inline(), self._name(), "test"), channel[0].target)
        except (StoreError, Killed):
            pass

    def collect(self, _: int, mishap: Mishap | None) -> None:
        try:
            collect(store_at(self._fresh(mishap)), RULES, self._name())
        except (StoreError, Killed) as error:
            if isinstance(error, IntegrityError):
                raise

    def erase(self, who: int, mishap: Mishap | None) -> None:
        """A user is forgotten; what may still become a version is told, and nothing else."""
        redactor = Redactor(store_at(self._fresh(mishap)), Inline(), self._name())
        try:
            report = erase(redactor, "user", [who], model=SETTINGS.model, salt=SALT)
        except (StoreError, Killed) as error:
            if isinstance(error, IntegrityError):
                raise
            return
        assert report.search is not None
        newest = max(store_at(self.objects).commits(LINEAGE), default=-1)
        if mishap is None:
            for key in report.search.found:
                place = folder_of(key)
                assert place is not None
                assert place[1] > newest, f"{key} still holds user {who}"
            assert not any(done.unreadable for done in report.lineages)

    def finish_erasing(self, _: int, mishap: Mishap | None) -> None:
        """As maintenance does."""
        try:
            finish(Redactor(store_at(self._fresh(mishap)), Inline(), self._name()))
        except (StoreError, Killed) as error:
            if isinstance(error, IntegrityError):
                raise

    def read(self, who: int, mishap: Mishap | None) -> None:
        """A reader of any version there is: lease first, then look whether it is still there."""
        store, name = store_at(self._fresh(mishap)), self._name()
        try:
            numbers = store.commits(LINEAGE)
            if numbers:
                ref = store.resolve(LINEAGE, numbers[who % len(numbers)])
                lease = Lease(holder=name, versions=(ref,), seconds=LEASE_SECONDS)
                store.objects.put(lease_key(name), lease.canonical())
                until = self.objects.now + LEASE_SECONDS
                store.resolve(LINEAGE, ref.version)
                self.readers[name] = (ref, until)
        except (StoreError, Killed):
            pass

    def wait(self, who: int, _: Mishap | None) -> None:
        self.objects.now += (10, 60, 1000, 4000)[who]

    # What holds

    def erased(self, ledger: Ledger, *, after: int = 0, upto: int | None = None) -> set[int]:
        """The users whom entries of these numbers have erased."""
        users = np.arange(KEYS)
        return set(users[ledger.erased("user", users, after=after, upto=upto)].tolist())

    def tag(self, key: str) -> str | None:
        """Of this object as it is now."""
        held = self.objects.objects.get(key)
        return None if held is None else held.etag

    @staticmethod
    def key(below: str) -> str:
        """Where what lies there below the model's prefix is in the bucket."""
        return f"{SETTINGS.store.prefix}/{SETTINGS.model}/{below}"

    def leased(self) -> set[VersionRef]:
        """What some reader relies on now."""
        return {ref for ref, until in self.readers.values() if self.objects.now <= until}

    def wanted(self) -> tuple[VersionRef, ...]:
        every = (self.stable, self.candidate, *self.hold)
        return tuple(dict.fromkeys(ref for ref in every if ref is not None))

    def assert_served(self) -> None:
        """What a server holds is one version each, whole, and stays so."""
        for held in self.server[1].held.values():
            position = held.manifest.positions[PARTITION]
            users = self.erased(self.server[1].ledger)
            self.stream.assert_served(position, held.tables, users)
            assert held.network.weights.head_out_bias[0] == position

    def _announce(self) -> None:
        if self.stable is None:
            self.stable, self.candidate = self.candidate, None
        if self.stable is not None:
            told = Announcement(
                self.stable, self.quarantined, "Test", "serving-test", self.wanted()
            )
            announce(store_at(self.operator), told, "operator", self.now)

    def _tell(self) -> None:
        try:
            self._announce()
        except (StoreError, Killed):
            self._restart_operator()

    def _restart_operator(self) -> None:
        """What it decided is in the status of its object; only the connection is new."""
        self.operator = Connection(self.objects)

    def _start_trainer(self) -> TrainerProcess:
        return TrainerProcess(self, self._name())

    def _start_server(self) -> tuple[Connection, Shelf]:
        connection = Connection(self.objects)
        return connection, Shelf(store_at(connection), Inline())

    def _fresh(self, mishap: Mishap | None) -> Connection:
        connection = Connection(self.objects)
        connection.expect(mishap)
        return connection

    def _name(self) -> str:
        return f"p{next(self._names)}"
