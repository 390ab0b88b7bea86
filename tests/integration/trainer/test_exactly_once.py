"""However often a trainer dies, the state it ends in is that of one that never did."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from tests.builders.objects import MemoryObjects
from tests.builders.trainer import (
    START,
    DeadlyObjects,
    Killed,
    Run,
    VirtualClock,
    manifests,
    state_of,
)

SECONDS = 16.0


@pytest.fixture(scope="module")
def undisturbed() -> dict:
    versions = manifests(Run(clock=VirtualClock(seconds=SECONDS)).run().objects)
    return state_of(versions[max(versions)])


def run_until_killed(objects: MemoryObjects, began: float, calls: int, *, after: bool) -> float:
    """One process that dies at its n-th call of the store; returns when it ended."""
    clock = VirtualClock(began, seconds=START + SECONDS - 2 - began)
    with suppress(Killed):
        Run(
            DeadlyObjects(objects, calls, after=after), clock=clock, process=f"{began}-{calls}"
        ).run()
    return clock.now()


def finish(objects: MemoryObjects, began: float) -> dict:
    """A last process that nobody kills; returns the state it ends in."""
    Run(objects, clock=VirtualClock(began, seconds=START + SECONDS - began), process="last").run()
    versions = manifests(objects)
    return state_of(versions[max(versions)])


@pytest.mark.parametrize("after", [False, True], ids=["call undone", "reply lost"])
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_calls_of_the_store(seed: int, *, after: bool, undisturbed: dict) -> None:
    """R7: each event counts once in the state that a version holds."""
    chance = random.Random(seed)
    objects, now = MemoryObjects(), START
    for _ in range(6):
        now = run_until_killed(objects, now, chance.randint(1, 120), after=after)
    assert finish(objects, now) == undisturbed


@pytest.mark.parametrize("calls", range(1, 60, 3))
def test_killed_at_every_third_call_around_the_first_commit(calls: int, undisturbed: dict) -> None:
    """R7: likewise while nothing is committed yet, or hardly anything."""
    objects = MemoryObjects()
    now = run_until_killed(objects, START, calls, after=calls % 2 == 1)
    assert finish(objects, now) == undisturbed
