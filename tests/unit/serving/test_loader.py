"""The loading thread: what it holds and refuses, and how it lives with a store that is away."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from millstream_core.store import AccessDenied, StoreUnavailable
from millstream_serving.loading import shelf
from millstream_serving.loading.loader import NOTHING_LOADED, Loader
from millstream_serving.loading.pace import NICENESS
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, random_rows, until


class Listener:
    """Keeps the last thing the loader told."""

    def __init__(self):
        self.last = NOTHING_LOADED
        self.told = []

    def __call__(self, loaded):
        self.told.append(loaded)
        self.last = loaded

    def state(self, ref):
        return self.last.state(ref)

    def is_ready(self, *refs):
        return all(self.state(ref).state == "Ready" for ref in refs)


@pytest.fixture
def publisher():
    made = Publisher(MemoryObjects())
    made.publish(random_rows(made, 5, 5))
    return made


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def loader(publisher, listener):
    made = Loader(publisher.store, listener, time.monotonic, lambda: True)
    made.start()
    yield made
    made.stop()


def changed_rows(publisher, seed):
    return {"user": random_rows(publisher, 5, 1, seed)["user"]}


def spoil(publisher, version):
    publisher.objects.damage(f"data/{version}-1/serve/user/0-1023.rows", lambda data: data[:-1])


def test_what_is_wanted_becomes_ready(publisher, listener, loader):
    base, delta = publisher.latest.ref(), publisher.publish(changed_rows(publisher, 1))
    loader.want([delta, base])
    until(lambda: listener.is_ready(base, delta), "both versions")
    assert listener.last.store.reason == "Reachable"


def test_what_is_not_wanted_any_more_goes(publisher, listener, loader):
    base, delta = publisher.latest.ref(), publisher.publish(changed_rows(publisher, 1))
    loader.want([delta, base])
    until(lambda: listener.is_ready(base, delta), "both versions")
    loader.want([delta])
    until(lambda: set(listener.last.versions) == {delta.digest}, "the base to go")


def test_loading_gives_way_to_threads_that_answer(publisher, listener, loader):
    """R23: it, and whatever fetches for it, has less weight than other threads of the process."""
    seen = set()
    get = publisher.objects.get

    def watched(key, at_most=None):
        seen.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return get(key, at_most)

    publisher.objects.get = watched
    loader.want([publisher.latest.ref()])
    until(lambda: listener.is_ready(publisher.latest.ref()), "the version")
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert seen == {min(usual + NICENESS, 19)}


def test_a_refused_version_is_said_so_and_never_fetched_again(publisher, listener, loader):
    base, bad = publisher.latest.ref(), publisher.publish(changed_rows(publisher, 1))
    intact = dict(publisher.objects.objects)
    spoil(publisher, 1)
    loader.want([base, bad])
    until(lambda: listener.state(bad).state == "Refused", "the refusal")
    assert listener.state(bad).reason == "Truncated"

    publisher.objects.objects = intact
    loader.want([bad])
    until(lambda: base.digest not in listener.last.versions, "the change to be seen")
    loader.want([base, bad])
    until(lambda: listener.is_ready(base), "the base")
    assert listener.state(bad).state == "Refused"


def test_a_refused_candidate_does_not_keep_others_from_loading(publisher, listener, loader):
    base, bad = publisher.latest.ref(), publisher.publish(changed_rows(publisher, 1))
    spoil(publisher, 1)
    loader.want([bad, base])
    until(lambda: listener.is_ready(base), "the base after the refusal")


def test_a_store_that_is_away_at_first_is_tried_until_it_answers(publisher, listener, loader):
    base = publisher.latest.ref()
    publisher.objects.fail_with = StoreUnavailable("nobody answers")
    loader.want([base])
    until(lambda: not listener.last.store.ok, "the trouble to be told")
    assert listener.last.store.reason == "Unreachable"
    assert listener.state(base).state == "Loading"
    assert listener.state(base).message == "nobody answers"

    publisher.objects.fail_with = None
    until(lambda: listener.is_ready(base), "the version")
    assert listener.last.store.ok


def test_refused_credentials_are_told_apart_from_silence(publisher, listener, loader):
    publisher.objects.fail_with = AccessDenied("no such key")
    loader.want([publisher.latest.ref()])
    until(lambda: listener.last.store.reason == "AccessDenied", "the reason")


def test_versions_in_memory_outlive_the_store(publisher, listener, loader):
    base = publisher.latest.ref()
    loader.want([base])
    until(lambda: listener.is_ready(base), "the base")
    delta = publisher.publish(changed_rows(publisher, 1))
    publisher.objects.fail_with = StoreUnavailable("gone")
    loader.want([base, delta])
    until(lambda: not listener.last.store.ok, "the trouble")
    assert listener.is_ready(base)


def test_a_change_of_wish_ends_the_pause_between_two_tries(publisher, listener):
    """A rollback must not wait for a back-off that belongs to another version."""
    loader = Loader(publisher.store, listener, time.monotonic, lambda: True, pauses=(600.0, 600.0))
    loader.start()
    base, delta = publisher.latest.ref(), publisher.publish(changed_rows(publisher, 1))
    publisher.objects.fail_with = StoreUnavailable("gone")
    loader.want([delta])
    until(lambda: not listener.last.store.ok, "the trouble")
    publisher.objects.fail_with = None
    loader.want([base])
    until(lambda: listener.is_ready(base), "the other version")
    loader.stop()


class BrokenError(Exception):
    """A fault that no store may raise."""


def test_a_fault_while_loading_is_told_and_tried_again(publisher, listener, loader):
    """Whatever breaks while loading, the thread goes on: nobody else would load anything."""
    base = publisher.latest.ref()
    publisher.objects.fail_with = BrokenError("a fault")
    loader.want([base])
    until(lambda: listener.state(base).reason == "Internal", "the fault")
    assert listener.state(base).message == "BrokenError: a fault"
    assert listener.state(base).state == "Loading"
    publisher.objects.fail_with = None
    until(lambda: listener.is_ready(base), "the version after all")


def test_a_fault_with_one_version_does_not_keep_others_from_loading(
    publisher, listener, loader, monkeypatch
):
    base, odd = publisher.latest.ref(), publisher.publish(changed_rows(publisher, 1))
    real_get = publisher.objects.get

    def get(key, at_most=None):
        if "data/1-1" in key:
            raise BrokenError
        return real_get(key, at_most)

    monkeypatch.setattr(publisher.objects, "get", get)
    loader.want([odd, base])
    until(lambda: listener.is_ready(base), "the other version")
    until(lambda: listener.state(odd).reason == "Internal", "the fault")


def test_a_fault_while_idle_is_survived(publisher, listener, loader, caplog):
    publisher.objects.fail_with = BrokenError("a fault")
    loader.want([])
    loader.want([publisher.latest.ref()])
    loader.want([])
    until(lambda: "unforeseen" in caplog.text, "the fault")
    publisher.objects.fail_with = None
    loader.want([publisher.latest.ref()])
    until(lambda: listener.is_ready(publisher.latest.ref()), "the version")


def test_refusals_are_remembered_in_bounded_number(publisher, listener, loader, monkeypatch):
    monkeypatch.setattr("millstream_serving.loading.loader.REFUSALS_KEPT", 2)
    bad = []
    for number in range(1, 5):
        writer = publisher.fork()
        bad.append(writer.publish(changed_rows(writer, number), version=number))
        spoil(publisher, number)
    loader.want(bad)
    until(lambda: listener.state(bad[-1]).state == "Refused", "the last refusal")
    assert len(listener.last.refused) <= 2


@dataclass(frozen=True, eq=False)
class Alike:
    """A network that has itself in reduced precision."""

    logits: Any

    def score(self, _request, _pad, logits):
        logits[:] = self.logits[: len(logits)]

    def reduced(self):
        return Alike(self.logits)


@pytest.mark.parametrize("precision", ["Float32", "BFloat16"])
def test_a_version_answers_at_once_and_then_in_the_precision_asked_for(
    publisher, listener, monkeypatch, precision
):
    scores = np.arange(200, dtype=np.float32)
    monkeypatch.setattr(shelf, "network_of", lambda *_: Alike(scores))
    ref = publisher.latest.ref()
    running = Loader(publisher.store, listener, time.monotonic, lambda: True, precision=precision)
    running.start()
    try:
        running.want([ref])
        until(lambda: listener.is_ready(ref), "the version")
        first = next(told for told in listener.told if ref.digest in told.versions)
        assert first.state(ref).precision == "Float32"
        after = publisher.publish(changed_rows(publisher, 1))
        running.want([ref, after])
        until(lambda: listener.is_ready(after), "the next version")
        assert listener.state(ref).precision == precision
        until(lambda: listener.state(after).precision == precision, "its precision")
    finally:
        running.stop()
