"""R20: whatever a version is made of, the one in force answers as before, and /release says why."""

from __future__ import annotations

import resource

import pytest

from tests.builders.serving import random_rows
from tests.integration.serving.hostile.cases import CASES

MEGABYTES = 1024  # of ru_maxrss, which counts in kB


@pytest.mark.parametrize(("publish", "reason"), CASES)
async def test_a_hostile_version_changes_nothing(start, publish, reason):
    running = await start()
    base = running.publisher.publish(random_rows(running.publisher, 20, 30))
    await running.in_force(stable=base)
    query = {"user_id": 3, "items": [1001, 1002, 1003, 7]}
    before = (await running.rank(**query)).json()

    hostile = publish(running.publisher)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    running.release(candidate=hostile, advanced=10)
    report = await running.state(hostile)

    [state] = [each for each in report.versions if each.ref == hostile]
    assert (state.state, state.reason) == ("Refused", reason)
    assert 10 < len(state.message) <= 1000
    assert (await running.rank(**query)).json() == before
    assert (report.stable, report.candidate) == (base, None)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < 64 * MEGABYTES, "nothing is allocated by what a file claims"


async def test_a_version_of_a_newer_format_says_what_to_do(start):
    """R11: the reader is too old, not the version broken."""
    running = await start()
    base = running.publisher.publish(random_rows(running.publisher, 5, 5))
    await running.in_force(stable=base)
    newer = running.publisher.publish(change=lambda m: m.changed(min_reader_version=2))
    running.release(candidate=newer)
    [state] = [each for each in (await running.state(newer)).versions if each.ref == newer]
    assert state.reason == "FormatTooNew"
    assert "needs a reader of format 2, this program reads up to 1: upgrade it" in state.message


async def test_channels_that_cannot_be_read_keep_nobody_from_answering(start):
    running = await start()
    base = running.publisher.publish(random_rows(running.publisher, 5, 5))
    for channel in ("latest", "stable"):
        running.publisher.objects.put(f"models/shop/channel/{channel}", b"[" * 100_000)
    report = await running.in_force(stable=base)
    report = await running.reports(lambda report: report.store.reason == "Reachable")
    assert report.stable == base
