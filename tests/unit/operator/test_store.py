"""Reading the model store without ever waiting for it."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from millstream_api.manifest import Channel, VersionRef
from millstream_api.settings import StoreSettings
from millstream_core.store import AccessDenied, ModelStore, PreconditionFailed, StoreUnavailable
from millstream_operator.shell import announcing
from millstream_operator.shell import store as stores
from millstream_operator.shell.announcing import Announcement, announce, holder_of
from millstream_operator.shell.cache import Key
from millstream_operator.shell.store import Place, Question, StoreReader, read_store
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects

PLACE = Place(StoreSettings(bucket="models"), "shop", "key", "secret")
KEY = Key("RecServing", "ns", "shop")
HOLDER = holder_of("uid-1")


def make_question(stable: VersionRef | None = None, **fields: Any) -> Question:
    known: dict[str, Any] = {
        "place": PLACE,
        "stable": stable,
        "quarantined": (),
        "number": None,
        "holder": HOLDER,
    }
    return Question(**(known | fields))


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def store(objects: MemoryObjects) -> ModelStore:
    return ModelStore(objects, "", "shop")


def publish(store: ModelStore, version: int, parent: VersionRef | None = None) -> VersionRef:
    manifest = make_manifest(version, parent, watermark={"first": 1.0, "last": 100.0 + version})
    ref = store.commit(manifest)
    known = store.channel("latest")
    channel = Channel(target=ref, reason="published", actor="test", moved_at=1.0)
    store.move_channel("latest", channel, etag=known[1] if known else None)
    return ref


class TestReading:
    def test_nothing_is_published_yet(self, store):
        found = read_store(store, make_question())
        assert (found.reachable, found.latest) == (True, None)
        assert found.health.reason == "WaitingForVersion"

    def test_the_line_ends_at_stable(self, store):
        first = publish(store, 1)
        second = publish(store, 2, first)
        third = publish(store, 3, second)
        found = read_store(store, make_question(second))
        assert [each.ref for each in found.ancestry] == [third, second]
        assert found.latest is not None
        assert found.latest.watermark == 103.0

    def test_without_anything_to_meet_only_the_newest_is_read(self, store):
        publish(store, 2, publish(store, 1))
        assert len(read_store(store, make_question()).ancestry) == 1

    def test_with_something_quarantined_the_whole_line_is_read(self, store):
        publish(store, 2, publish(store, 1))
        found = read_store(store, make_question(quarantined=("0" * 64,)))
        assert len(found.ancestry) == 2

    def test_a_version_asked_for_is_looked_up_in_the_newest_line(self, store):
        first = publish(store, 1)
        publish(store, 2, first)
        found = read_store(store, make_question(number=1))
        assert found.asked is not None
        assert found.asked.ref == first

    def test_one_that_is_not_there_is_none(self, store):
        publish(store, 1)
        found = read_store(store, make_question(number=9))
        assert (found.reachable, found.asked) == (True, None)

    @pytest.mark.parametrize(
        ("error", "reason"),
        [
            (StoreUnavailable("no answer"), "Unreachable"),
            (AccessDenied("wrong key"), "AccessDenied"),
        ],
    )
    def test_a_store_that_is_away_is_a_value(self, store, objects, error, reason):
        publish(store, 1)
        objects.fail_with = error
        found = read_store(store, make_question())
        assert (found.reachable, found.health.reason) == (False, reason)
        assert str(error) in found.health.message

    def test_an_altered_manifest_is_a_value_too(self, store, objects):
        ref = publish(store, 1)
        key = f"shop/{ref.lineage}/manifest/1-{ref.digest}.json"
        objects.put(key, b"{}")
        fresh = ModelStore(objects, "", "shop")
        found = read_store(fresh, make_question())
        assert (found.reachable, found.health.reason) == (False, "Unreadable")


class TestAnnouncing:
    def told(self, target: VersionRef | None, *quarantined: str) -> Announcement:
        return Announcement(target, quarantined, "VersionPromoted", HOLDER)

    def test_the_channel_is_made_and_moved(self, store):
        first, second = publish(store, 1), publish(store, 2)
        announce(store, self.told(first), "operator", 10.0)
        announce(store, self.told(second, "a" * 64), "operator", 20.0)
        channel, _ = store.channel("stable")
        assert (channel.target, channel.previous) == (second, first)
        assert channel.quarantined == ("a" * 64,)

    def test_a_bad_first_version_is_named_before_there_is_a_good_one(self, store):
        """The trainer would build upon it for ever otherwise."""
        first, second = publish(store, 1), publish(store, 2)
        announce(store, self.told(None, first.digest), "operator", 10.0)
        channel, _ = store.channel("stable")
        assert (channel.target, channel.quarantined) == (None, (first.digest,))
        announce(store, self.told(second), "operator", 20.0)
        channel, _ = store.channel("stable")
        assert (channel.target, channel.previous) == (second, None)
        assert channel.quarantined == (first.digest,)

    def test_saying_the_same_again_writes_nothing(self, store):
        first = publish(store, 1)
        announce(store, self.told(first), "operator", 10.0)
        _, tag = store.channel("stable")
        announce(store, self.told(first), "operator", 20.0)
        assert store.channel("stable")[1] == tag

    def test_what_others_have_quarantined_stays_so(self, store):
        first = publish(store, 1)
        announce(store, self.told(first, "a" * 64), "one", 10.0)
        announce(store, self.told(first, "b" * 64), "two", 20.0)
        assert store.channel("stable")[0].quarantined == ("a" * 64, "b" * 64)

    def test_what_is_remembered_there_is_bounded_and_ours_comes_last(self, store):
        first = publish(store, 1)
        for number in range(80):
            announce(store, self.told(first, f"{number:064x}"), "operator", 10.0)
        quarantined = store.channel("stable")[0].quarantined
        assert len(quarantined) == announcing.QUARANTINE_ANNOUNCED
        assert quarantined[-1] == f"{79:064x}"

    def test_what_has_to_stay_is_told_and_what_was_before_is_remembered(self, store):
        """R18: rollback points and candidates are in no other place that a collector reads."""
        first, second, third = (publish(store, number) for number in (1, 2, 3))
        announce(store, self.told(first), "operator", 10.0)
        announce(store, self.told(second), "operator", 20.0)
        kept = Announcement(second, (), "CandidateFound", HOLDER, (second, third, first))
        assert kept.digest != self.told(second).digest
        announce(store, kept, "operator", 30.0)
        assert store.channel(HOLDER)[0].retained == (second, third, first)
        channel, _ = store.channel("stable")
        assert (channel.target, channel.previous) == (second, first)

    def test_several_that_serve_one_model_keep_what_each_of_them_holds(self, store):
        """R18: the last to speak must not let go of what another may go back to."""
        first, second, third = (publish(store, number) for number in (1, 2, 3))
        announce(store, replace(self.told(second), retained=(first, second)), "operator", 10.0)
        other = replace(self.told(third), holder="serving-other", retained=(third,))
        announce(store, other, "operator", 20.0)
        assert store.channel(HOLDER)[0].retained == (first, second)
        assert store.channel("serving-other")[0].retained == (third,)
        store.remove_channel(HOLDER)
        store.remove_channel(HOLDER)
        assert set(store.channels()) == {"latest", "serving-other", "stable"}

    def test_of_a_promotion_and_a_rollback_at_once_one_wins(self, store, objects):
        """R13: the loser learns of it, and by its next look sees the new state."""
        first, second = publish(store, 1), publish(store, 2)
        announce(store, self.told(first), "operator", 10.0)
        put = objects.put

        def overtaken(key: str, data: bytes, **conditions: Any) -> str:
            if not key.endswith("channel/stable"):
                return put(key, data, **conditions)
            objects.put = put
            announce(store, self.told(first, second.digest), "a person", 20.0)
            return put(key, data, **conditions)

        objects.put = overtaken
        with pytest.raises(PreconditionFailed):
            announce(store, self.told(second), "operator", 20.0)
        channel, _ = store.channel("stable")
        assert (channel.target, channel.actor) == (first, "a person")
        assert channel.quarantined == (second.digest,)

    def test_its_digest_names_what_is_told_and_not_why(self, store):
        first = publish(store, 1)
        assert self.told(first).digest == Announcement(first, (), "other reason", HOLDER).digest
        assert self.told(first).digest != self.told(first, "a" * 64).digest


def hang(objects: MemoryObjects, until: threading.Event) -> None:
    """Reads wait for the event, as on a store that hangs."""
    held = objects.get

    def get(key: str, at_most: int | None = None) -> Any:
        until.wait(5)
        return held(key, at_most)

    objects.get = get


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def reader(store, monkeypatch):
    """A reader over the store in memory; its clock and what it woke are on it."""
    monkeypatch.setattr(stores, "_open", lambda _: store)
    clock, woken = Clock(), []
    found = StoreReader(clock, woken.append, "operator")
    found.clock, found.woken = clock, woken
    yield found
    await found.close()


class TestInTheBackground:
    async def test_a_store_that_answers_is_read_at_once(self, reader, store):
        publish(store, 1)
        view = await reader.view(KEY, make_question(), 2.0)
        assert view.latest is not None
        assert reader.woken == [KEY]

    async def test_it_is_read_again_only_when_it_is_time(self, reader, store):
        publish(store, 1)
        await reader.view(KEY, make_question(), 2.0)
        publish(store, 2)
        view = await reader.view(KEY, make_question(), 2.0)
        assert view.latest.ref.version == 1
        reader.clock.now += 2.0
        view = await reader.view(KEY, make_question(), 2.0)
        assert view.latest.ref.version == 2

    async def test_a_line_read_for_another_question_is_not_taken_for_an_answer(
        self, reader, store, objects
    ):
        first = publish(store, 1)
        await reader.view(KEY, make_question(), 100.0)
        second = publish(store, 2, first)
        hanging = threading.Event()
        hang(objects, hanging)
        began = asyncio.get_running_loop().time()
        view = await reader.view(KEY, make_question(first), 100.0)
        assert asyncio.get_running_loop().time() - began < 2, "nobody waits for a slow store"
        assert (view.ancestry, view.reachable) == ((), True)
        reader.woken.clear()
        hanging.set()
        for _ in range(200):
            if reader.woken:
                break
            await asyncio.sleep(0.01)
        assert reader.woken == [KEY], "the object is looked at when the answer comes"
        view = await reader.view(KEY, make_question(first), 100.0)
        assert view.latest.ref == second

    async def test_an_answer_of_another_store_is_not_taken_for_this_ones(
        self, reader, store, objects
    ):
        publish(store, 1)
        await reader.view(KEY, make_question(), 100.0)
        hanging = threading.Event()
        hang(objects, hanging)
        other = Place(PLACE.settings, "another-model", "key", "secret")
        view = await reader.view(KEY, make_question(place=other), 100.0)
        assert view == stores.NOT_READ
        hanging.set()

    async def test_other_credentials_forget_what_was_read_with_the_first(self, reader, store):
        publish(store, 1)
        await reader.view(KEY, make_question(), 100.0)
        other = Place(PLACE.settings, "shop", "key", "another secret")
        view = await reader.view(KEY, make_question(place=other), 100.0)
        assert view.latest is not None
        assert set(reader._stores) == {other}

    async def test_a_mistake_of_ours_is_said_and_not_swallowed(self, reader, monkeypatch, caplog):
        def fail(*_: Any) -> None:
            raise RuntimeError("a mistake")

        monkeypatch.setattr(stores, "read_store", fail)
        view = await reader.view(KEY, make_question(), 1.0)
        assert view.health.reason == "InternalError"
        assert "a mistake" in caplog.text

    async def test_an_announcement_is_done_once_and_said_to_be(self, reader, store):
        told = Announcement(publish(store, 1), (), "VersionPromoted", HOLDER)
        assert reader.announce(KEY, PLACE, told, 1.0) is None
        for _ in range(200):
            if reader.woken:
                break
            await asyncio.sleep(0.01)
        assert reader.announce(KEY, PLACE, told, 1.0) == told.digest
        assert store.channel("stable")[0].target == told.target

    async def test_an_announcement_that_fails_is_made_again(self, reader, store, objects):
        told = Announcement(publish(store, 1), (), "VersionPromoted", HOLDER)
        objects.fail_with = StoreUnavailable("no answer")
        assert reader.announce(KEY, PLACE, told, 1.0) is None
        await asyncio.wait(reader._announcing.values())
        objects.fail_with = None
        assert reader.announce(KEY, PLACE, told, 1.0) is None
        await asyncio.wait(reader._announcing.values())
        assert reader.announce(KEY, PLACE, told, 1.0) == told.digest

    async def test_forgetting_frees_the_client(self, reader, store):
        publish(store, 1)
        await reader.view(KEY, make_question(), 1.0)
        reader.forget(KEY)
        assert not reader._stores
        assert not reader._readings

    async def test_what_is_announced_while_the_object_goes_does_not_stay(
        self, reader, store, objects, monkeypatch
    ):
        first, may_go_on = publish(store, 1), threading.Event()
        await reader.view(KEY, make_question(), 1.0)
        held = objects.put

        def put(*arguments: Any, **conditions: Any) -> str:
            may_go_on.wait(5)
            return held(*arguments, **conditions)

        monkeypatch.setattr(objects, "put", put)
        reader.announce(KEY, PLACE, Announcement(first, (), "Test", HOLDER), 1.0)
        await asyncio.sleep(0)  # the announcement is handed to its thread
        reader.forget(KEY)
        # Long enough for a removal that does not wait to come first.
        asyncio.get_running_loop().call_later(0.2, may_go_on.set)
        await asyncio.wait(reader._withdrawing)
        reader._threads.shutdown(wait=True)
        assert set(store.channels()) == {"latest", "stable"}
        assert not reader._users

    async def test_what_a_deleted_object_kept_may_go(self, reader, store):
        announce(store, Announcement(publish(store, 1), (), "Test", HOLDER), "operator", 1.0)
        await reader.view(KEY, make_question(), 1.0)
        reader.forget(KEY)
        await asyncio.wait(reader._withdrawing)
        assert set(store.channels()) == {"latest", "stable"}


def test_secrets_are_not_in_the_text_of_a_place():
    assert "secret" not in repr(PLACE).replace("secret_key", "")
