"""Versions in memory against a plain dictionary, for any sequence of bases and deltas."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, make_architecture

KEYS = range(8)
ARCHITECTURE = make_architecture(embedding_dim=1, history_length=1)
POOL = ThreadPoolExecutor(2)

rows = st.dictionaries(st.sampled_from(KEYS), st.floats(-9, 9, width=32), max_size=6)
steps = st.lists(
    st.tuples(rows, st.sets(st.sampled_from(KEYS), max_size=3), st.booleans()),
    min_size=1,
    max_size=6,
)


def as_rows(values):
    return {"user": {key: np.array([value], np.float32) for key, value in values.items()}}


@settings(max_examples=40, deadline=None)
@given(steps, st.data())
def test_every_version_holds_exactly_its_rows_in_whatever_order_they_were_loaded(steps, data):
    publisher = Publisher(MemoryObjects(), architecture=ARCHITECTURE)
    refs, states = [], []
    for written, leaving, is_base in steps:
        known = publisher.tables["user"].keys() | written.keys()
        gone = {"user": sorted((leaving & known) - written.keys())}
        refs.append(publisher.publish(as_rows(written), gone=gone, base=is_base))
        states.append(dict(publisher.tables["user"]))

    shelf = Shelf(publisher.store, POOL)
    order = data.draw(st.permutations(range(len(refs))))
    held: set[str] = set()
    for place in order:
        if refs[place].digest not in shelf.held:
            held.add(refs[place].digest)
            shelf.load(refs[place], held.__contains__, lambda _: None)
        kept = data.draw(st.sets(st.sampled_from(sorted(held))))
        held &= kept | {refs[place].digest}
        shelf.drop_all_but(held)
        for ref, state in zip(refs, states, strict=True):
            if ref.digest in shelf.held:
                got = shelf.held[ref.digest].tables["user"].gather("rows", np.array(KEYS))
                wanted = [state.get(key, np.zeros(1))[0] for key in KEYS]
                np.testing.assert_array_equal(got[:, 0], np.array(wanted, np.float32))
