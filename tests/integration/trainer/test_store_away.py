"""Training never waits for the store: away at start, away later, back again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millstream_api.names import CHANNEL_LATEST
from millstream_core.store import AccessDenied, StoreError, StoreUnavailable
from tests.builders.objects import MemoryObjects
from tests.builders.trainer import (
    START,
    Run,
    VirtualClock,
    make_settings,
    manifests,
    state_of,
    store_of,
)

if TYPE_CHECKING:
    from millstream_api.manifest import Manifest, VersionRef

AWAY = StoreUnavailable("nobody answers")


def away(objects: MemoryObjects, clock: VirtualClock, *, between: tuple[float, float]) -> None:
    """Let the store be away for some seconds of the run."""
    first, last = between
    if first <= 0:
        objects.fail_with = AWAY
    else:
        clock.happens(first, lambda: setattr(objects, "fail_with", AWAY))
    clock.happens(last, lambda: setattr(objects, "fail_with", None))


def undisturbed(seconds: float) -> dict:
    versions = manifests(Run(clock=VirtualClock(seconds=seconds)).run().objects)
    return state_of(versions[max(versions)])


def assert_follows(version: Manifest, parent: Manifest) -> None:
    """It claims the events after its parent's, from the first of them on."""
    assert parent.watermark is not None
    assert version.watermark is not None
    expected = parent.watermark.last + 1 / 200
    assert version.watermark.first == pytest.approx(expected, abs=1e-3)


def test_away_at_start_training_begins_and_is_published_later() -> None:
    objects, clock = MemoryObjects(), VirtualClock(seconds=24)
    away(objects, clock, between=(0, 15))
    run = Run(objects, clock=clock).run()
    versions = manifests(objects)
    assert versions[1].kind == "base"
    assert versions[1].positions["0"] > 200 * 14, "what was learned meanwhile is in it"
    assert state_of(versions[max(versions)]) == undisturbed(24)
    assert run.value("samples_replayed_total") == 0


def test_away_at_start_of_a_restart_goes_back_to_what_there_is() -> None:
    """It begins from nothing, and each event still counts once when the store answers."""
    first = Run(clock=VirtualClock(seconds=14)).run()
    clock = VirtualClock(START + 14, seconds=12)
    away(first.objects, clock, between=(0, 6))
    second = Run(first.objects, clock=clock, process="second").run()
    versions = manifests(first.objects)
    assert second.value("samples_replayed_total") > 0
    continued = next(version for version in versions.values() if version.writer_epoch == 2)
    assert_follows(continued, versions[continued.version - 1])
    assert state_of(versions[max(versions)]) == undisturbed(26)


def test_away_later_training_goes_on_and_nothing_is_lost() -> None:
    objects, clock = MemoryObjects(), VirtualClock(seconds=28)
    away(objects, clock, between=(12, 18))
    run = Run(objects, clock=clock).run()
    versions = manifests(objects)
    assert state_of(versions[max(versions)]) == undisturbed(28)
    rates = [report.events_per_second for report in run.reports[12:-1]]
    assert rates == pytest.approx([200] * len(rates), rel=0.15)
    first_after = next(version for version in versions.values() if version.created_at > START + 18)
    assert_follows(first_after, versions[first_after.version - 1])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(AWAY, "Unreachable", id="nobody answers"),
        pytest.param(AccessDenied("wrong key"), "AccessDenied", id="credentials are refused"),
    ],
)
@pytest.mark.parametrize("begin", [0.0, 12.0], ids=["at start", "later"])
def test_progress_says_why_nothing_is_published(
    error: StoreError, reason: str, begin: float
) -> None:
    objects, clock = MemoryObjects(), VirtualClock(seconds=20)
    if begin:
        clock.happens(begin, lambda: setattr(objects, "fail_with", error))
    else:
        objects.fail_with = error
    run = Run(objects, clock=clock).run()
    last = run.reports[-3]
    assert (last.phase, last.store.ok, last.store.reason) == ("Training", False, reason)
    assert str(error) in last.store.message
    assert run.value("publish_failures_total", reason=reason) > 1
    assert run.value("store_ok") == 0
    assert last.published_at is None if begin == 0 else last.published_at is not None


def test_attempts_back_off() -> None:
    objects, clock = MemoryObjects(), VirtualClock(seconds=120)
    objects.fail_with = AWAY
    run = Run(objects, clock=clock).run()
    attempts = run.value("publish_failures_total", reason="Unreachable")
    assert 6 <= attempts <= 10, "after 0, 1, 3, 7, 15, 31, 61, 91 seconds"


def test_a_store_that_ignores_conditions_gets_no_versions() -> None:
    objects = MemoryObjects()
    objects.honours_conditions = False
    run = Run(objects).run()
    assert run.reports[-1].store.reason == "ConditionsNotHonoured"
    assert not manifests(objects)
    assert run.reports[-1].events > 0


class DeafChannels(MemoryObjects):
    """Everything can be written but channels, until a moment."""

    def __init__(self, clock: VirtualClock, until: float) -> None:
        super().__init__()
        self._clock, self._until = clock, until

    def put(self, key: str, data: bytes, **conditions: Any) -> str:
        if "/channel/" in key and self._clock.now() < self._until:
            raise AWAY
        return super().put(key, data, **conditions)


def test_a_version_committed_but_not_announced_is_announced_later() -> None:
    """Later means as soon as it can be, not with the next version."""
    clock = VirtualClock(seconds=28)
    objects = DeafChannels(clock, START + 26)
    announced: list[VersionRef | None] = []

    def look() -> None:
        found = store_of(objects).channel(CHANNEL_LATEST)
        announced.append(found[0].target if found else None)

    clock.happens(25.9, look)
    clock.happens(27.9, look)
    Run(objects, make_settings(publish_interval_seconds=3.0), clock=clock).run()
    versions = manifests(objects)
    assert versions[1].created_at < START + 25.9
    assert versions[2].created_at > START + 27.9
    assert announced == [None, versions[1].ref()]
