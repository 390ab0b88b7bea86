"""R14: a delta applies onto its parent and nothing else, in whatever order versions come."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_serving.loading.checks import Refused
from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, random_rows

DELTAS = 6


def make_lineage(lineage: str = "a1b2c3"):
    """A base and six deltas; the state of one user after each."""
    publisher = Publisher(MemoryObjects(), lineage=lineage)
    refs = [publisher.publish(random_rows(publisher, 5, 5))]
    states = [publisher.tables["user"][0]]
    for seed in range(1, DELTAS + 1):
        refs.append(publisher.publish({"user": random_rows(publisher, 2, 1, seed)["user"]}))
        states.append(publisher.tables["user"][0])
    return publisher, refs, states


def test_every_order_of_asking_for_the_versions_of_a_chain_gives_the_same() -> None:
    publisher, refs, states = make_lineage()
    with ThreadPoolExecutor(2) as pool:
        # Every fifth of the 720 orders: each pair of versions comes in both.
        for order in itertools.islice(itertools.permutations(range(1, DELTAS + 1)), 0, None, 5):
            shelf = Shelf(publisher.store, pool)
            digests = {ref.digest for ref in refs}
            for number in order:
                if refs[number].digest not in shelf.held:
                    shelf.load(refs[number], digests.__contains__, lambda _: None)
            for number in order:
                held = shelf.held[refs[number].digest]
                found = held.tables["user"].gather("rows", np.array([0], np.int64))[0]
                np.testing.assert_array_equal(found, states[number])


@pytest.mark.parametrize("missing", range(DELTAS))
def test_with_a_link_missing_what_is_held_goes_on_serving(missing: int) -> None:
    publisher, refs, states = make_lineage()
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(refs[0], {refs[0].digest}.__contains__, lambda _: None)
        [key] = [key for key in publisher.objects.objects if f"manifest/{missing + 1}-" in key]
        publisher.objects.delete(key)
        with pytest.raises(Refused) as refused:
            shelf.load(refs[-1], {refs[-1].digest}.__contains__, lambda _: None)
        assert refused.value.reason == "LineageBroken"
        found = shelf.held[refs[0].digest].tables["user"].gather("rows", np.array([0], np.int64))
        np.testing.assert_array_equal(found[0], states[0])


@pytest.mark.parametrize(("onto", "delta"), [(0, 2), (3, 3), (4, 2), (6, 1)])
def test_a_delta_that_names_another_parent_than_it_was_made_on_is_refused(
    onto: int, delta: int
) -> None:
    """Skipped, doubled and reordered: the rows do not add up to what its writer says."""
    publisher, refs, _ = make_lineage()
    store = publisher.store
    wrong = store.manifest(refs[delta]).changed(version=DELTAS + 1, parent=refs[onto])
    ref = store.commit(wrong)
    with ThreadPoolExecutor(2) as pool, pytest.raises(Refused) as refused:
        Shelf(store, pool).load(ref, {ref.digest}.__contains__, lambda _: None)
    assert refused.value.reason == "StateDigestMismatch"


def test_a_delta_of_another_lineage_is_refused() -> None:
    publisher, _, _ = make_lineage()
    other = Publisher(publisher.objects, lineage="ffffff")
    foreign = other.publish(random_rows(other, 5, 5))
    wrong = publisher.publish(change=lambda manifest: manifest.changed(parent=foreign))
    with ThreadPoolExecutor(2) as pool, pytest.raises(Refused) as refused:
        Shelf(publisher.store, pool).load(wrong, {wrong.digest}.__contains__, lambda _: None)
    assert refused.value.reason == "LineageBroken"
