"""R18: a trainer goes back to a version that no channel names, and the collector comes by."""

from __future__ import annotations

from millstream_api.manifest import Channel
from millstream_core.upkeep.collecting import collect
from tests.builders.chain import LINEAGE, RULES, World, store_at
from tests.builders.proofs import Prover


def test_a_version_that_was_collected_is_not_built_upon() -> None:
    """Else it and all deltas after it exist and cannot be read, until the next base."""
    world = World(seed=1)
    trainer = world.trainers[0]
    store = store_at(world.objects)
    while len(store.commits(LINEAGE)) < 9:  # from 8 on upon a new base
        trainer.publish()
    stable, bad = (store.resolve(LINEAGE, number) for number in (1, 5))
    moved = Channel(
        target=stable, reason="Test", actor="test", moved_at=1.0, quarantined=(bad.digest,)
    )
    etag = store.move_channel("stable", moved, etag=None)
    trainer.publish()  # goes back to version 4
    world.objects.now += 10 * RULES.grace_seconds
    # The collector spares what a trainer goes on from, as far as it is told what is quarantined.
    etag = store.move_channel("stable", moved.changed(quarantined=()), etag=etag)
    collect(store, RULES, "c")
    store.move_channel("stable", moved, etag=etag)
    assert store.commits(LINEAGE) == [1, 8, 9]
    for _ in range(2):
        trainer.publish()
    newest = store.commits(LINEAGE)[-1]
    assert newest > 9
    prover = Prover(world)
    for number in store.commits(LINEAGE):
        prover.prove([store.resolve(LINEAGE, number)])
    assert store.manifest(store.resolve(LINEAGE, newest)).parent == stable
