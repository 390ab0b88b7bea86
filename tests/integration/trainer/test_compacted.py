"""A trainer that starts on a lineage whose chain was compacted meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from millstream_core.upkeep.compaction import Compactor, compact
from tests.builders.objects import CountedObjects
from tests.builders.trainer import (
    START,
    Run,
    VirtualClock,
    make_settings,
    manifests,
    state_of,
    store_of,
)


def restarted(*, compacts: bool) -> tuple[CountedObjects, dict[str, object], int]:
    """Train, compact or not, go on in a new process; the state reached and the bytes restored."""
    objects, settings = CountedObjects(), make_settings(base_every=1000)
    Run(objects, settings, clock=VirtualClock(seconds=40)).run()
    newest = max(manifests(objects, settings).items())[1]
    if compacts:
        with ThreadPoolExecutor(2) as pool:
            made = compact(Compactor(store_of(objects), pool, "c1", "test"), newest.ref())
        assert any(each.since is None for each in made)
    objects.bytes_read = 0
    clock = VirtualClock(START + 40, seconds=4)
    again = Run(objects, settings, clock=clock, process="2")
    read: list[int] = []
    clock.happens(0.5, lambda: read.append(objects.bytes_read))
    again.run()
    versions = manifests(objects, settings)
    return objects, state_of(versions[max(versions)]), read[0]


def test_the_same_state_comes_from_fewer_bytes() -> None:
    """R17: weights, optimizer state and positions, to the bit."""
    _, by_steps, steps = restarted(compacts=False)
    _, compacted, bytes_read = restarted(compacts=True)
    assert compacted == by_steps
    assert bytes_read < 0.5 * steps
