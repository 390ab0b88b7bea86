"""Comparisons beside the requests: each pair once, and the newest pair only."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking import shadowing
from millstream_serving.ranking.shadowing import Shadowing
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, random_rows


@pytest.fixture(scope="module")
def versions():
    publisher = Publisher(MemoryObjects())
    refs = [publisher.publish(random_rows(publisher, 5, 9, seed)) for seed in range(3)]
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(refs[-1], lambda _: True, lambda _: None)
    return [shelf.held[ref.digest] for ref in refs]


@pytest.fixture
async def running():
    return Shadowing(10, asyncio.get_running_loop(), time.monotonic)


async def result_of(running):
    async with asyncio.timeout(20):
        while running.result is None:  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.005)
    return running.result


async def test_a_pair_is_compared_once(versions, running):
    stable, candidate, _ = versions
    running.begin(candidate, stable, [])
    first = await result_of(running)
    running.begin(candidate, stable, [])
    assert running.result is first


async def test_another_pair_takes_the_place_of_the_one_before(versions, running):
    stable, candidate, other = versions
    running.begin(candidate, stable, [])
    await result_of(running)
    running.begin(other, stable, [])
    assert running.result is None
    assert (await result_of(running)).candidate == other.ref.digest


async def test_a_comparison_that_comes_too_late_does_not_count(versions, running, monkeypatch):
    stable, candidate, other = versions
    gate, real = threading.Event(), shadowing.compare

    def compare(new, old, queries, rest):
        if new is candidate:
            gate.wait(20)
            return real(new, old, queries, lambda: True)  # too far on to hear that it is over
        return real(new, old, queries, rest)

    monkeypatch.setattr(shadowing, "compare", compare)
    before = set(threading.enumerate())
    running.begin(candidate, stable, [])
    [late] = set(threading.enumerate()) - before
    running.begin(other, stable, [])
    await result_of(running)
    gate.set()
    await asyncio.to_thread(late.join, 20)
    await asyncio.sleep(0)  # lets the loop take what the thread handed over
    assert running.result.candidate == other.ref.digest
