"""Who leads, with two clocks that need not agree."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millstream_operator.shell import lease as leases
from millstream_operator.shell.errors import ApiUnavailable, NotLeading
from millstream_operator.shell.lease import Elector, LeaseLost, Seen, may_take
from tests.builders.fake_api import FakeApi


class Clock:
    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RETRY_SECONDS", 0.001)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def make_elector(api: Any, name: str, clock: Clock, wall: float = 1_800_000_000.0) -> Elector:
    return Elector(api, "ns", "op", name, clock, lambda: wall + clock.now)


@pytest.mark.parametrize(
    ("seen", "now", "free"),
    [
        (None, 0.0, True),
        (Seen("me", "t", 0.0), 1.0, True),
        (Seen("", "t", 0.0), 1.0, True),
        (Seen("other", "t", 0.0), 15.0, False),
        (Seen("other", "t", 0.0), 15.1, True),
    ],
    ids=["no lease", "ours", "given back", "renewed 15 s ago", "silent for longer"],
)
def test_when_it_may_be_taken(seen: Seen | None, now: float, free: bool):
    assert may_take(seen, "me", now) is free


async def test_the_first_takes_it_and_the_second_waits(api):
    clock = Clock()
    first, second = make_elector(api, "a", clock), make_elector(api, "b", clock)
    await first.acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.acquire(), 0.05)
    assert (first.leading, second.leading) == (True, False)


async def test_a_lease_given_back_is_taken_at_once(api):
    clock = Clock()
    first, second = make_elector(api, "a", clock), make_elector(api, "b", clock)
    await first.acquire()
    await first.release()
    await asyncio.wait_for(second.acquire(), 1)
    assert api.objects["Lease", "ns", "op"]["spec"]["leaseTransitions"] == 2


async def test_a_silent_holder_is_succeeded_by_our_own_clock(api):
    """The holder's wall clock is an hour fast; that says nothing."""
    theirs, ours = Clock(), Clock(500.0)
    await make_elector(api, "a", theirs, wall=1_800_003_600.0).acquire()
    second = make_elector(api, "b", ours)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(second.acquire(), 0.05)
    ours.now += 16
    await asyncio.wait_for(second.acquire(), 1)


async def test_a_holder_that_was_succeeded_stops(api):
    clock = Clock()
    first = make_elector(api, "a", clock)
    await first.acquire()
    taken = api.objects["Lease", "ns", "op"]
    taken["spec"] = {**taken["spec"], "holderIdentity": "b"}
    with pytest.raises(LeaseLost, match="somebody else"):
        await asyncio.wait_for(first.hold(), 1)
    assert not first.leading


async def test_a_holder_that_cannot_renew_stops_before_anybody_else_begins(api):
    clock = Clock()
    first = make_elector(api, "a", clock)
    await first.acquire()
    api.fail_with = ApiUnavailable("no answer")
    holding = asyncio.create_task(first.hold())
    await asyncio.sleep(0.02)
    assert not holding.done(), "a short outage is ridden out"
    clock.now += leases.RENEW_DEADLINE_SECONDS + 0.1
    with pytest.raises(LeaseLost, match="was not renewed"):
        await asyncio.wait_for(holding, 1)
    assert leases.RENEW_DEADLINE_SECONDS + leases.CALL_SECONDS < leases.LEASE_SECONDS


async def test_one_that_was_stopped_writes_nothing_once_another_may_lead(api):
    clock = Clock()
    first = make_elector(api, "a", clock)
    with pytest.raises(NotLeading):
        first.check()
    await first.acquire()
    first.check()
    clock.now += leases.RENEW_DEADLINE_SECONDS + 0.1  # as if the process had been stopped
    with pytest.raises(NotLeading):
        first.check()
    await first.release()
    with pytest.raises(NotLeading):
        first.check()


async def test_renewing_keeps_the_time_of_acquisition(api):
    clock = Clock()
    first = make_elector(api, "a", clock)
    await first.acquire()
    before = api.objects["Lease", "ns", "op"]["spec"]
    clock.now += 2
    holding = asyncio.create_task(first.hold())
    await asyncio.sleep(0.02)
    holding.cancel()
    after = api.objects["Lease", "ns", "op"]["spec"]
    assert after["acquireTime"] == before["acquireTime"]
    assert after["renewTime"] > before["renewTime"]
    assert after["leaseTransitions"] == before["leaseTransitions"]


async def test_of_two_that_try_at_once_one_wins(api):
    clock = Clock()
    electors = [make_elector(api, name, clock) for name in "abcd"]
    tasks = [asyncio.create_task(each.acquire()) for each in electors]
    await asyncio.sleep(0.05)
    assert sum(each.leading for each in electors) == 1
    for task in tasks:
        task.cancel()


async def test_giving_back_what_another_holds_changes_nothing(api):
    clock = Clock()
    first = make_elector(api, "a", clock)
    await first.acquire()
    taken = api.objects["Lease", "ns", "op"]
    taken["spec"] = {**taken["spec"], "holderIdentity": "b"}
    await first.release()
    assert api.objects["Lease", "ns", "op"]["spec"]["holderIdentity"] == "b"
