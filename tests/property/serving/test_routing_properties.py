"""What must hold of routing for any release and any set of loaded versions."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from millstream_api.release import Release, batch_of
from millstream_serving.releases.routing import NOWHERE, decide_routing
from tests.builders.serving import make_ref

VERSIONS = [make_ref(number) for number in range(6)]

versions = st.sampled_from(VERSIONS)
users = st.one_of(st.none(), st.text(max_size=20), st.integers().map(str))


@st.composite
def releases(draw, epoch):
    chosen = draw(st.lists(versions, unique=True, min_size=1, max_size=5))
    batches = draw(st.integers(1, 100))
    return Release(
        epoch=epoch,
        salt=draw(st.text(max_size=8)),
        stable=draw(st.sampled_from([chosen[0], None])),
        candidate=draw(st.sampled_from([chosen[-1], None])),
        batches=batches,
        advanced=draw(st.integers(0, batches)),
        hold=tuple(chosen[1:-1]),
        quarantined=tuple(ref.digest for ref in draw(st.sets(versions, max_size=2))),
    )


loaded = st.sets(versions).map(lambda refs: {ref.digest for ref in refs})


@st.composite
def histories(draw):
    """A replica's routing after a few releases and loads, as the event loop would take them."""
    routing = NOWHERE
    for epoch in range(1, draw(st.integers(1, 4)) + 1):
        release = draw(releases(epoch))
        routing = decide_routing(release, draw(loaded), routing)
    return routing


@given(histories(), releases(9), loaded, users)
def test_an_answer_comes_from_a_loaded_version_or_from_none(before, release, ready, user):
    chosen, _ = decide_routing(release, ready, before).route(user)
    assert chosen is None or chosen.digest in ready


@given(histories(), releases(9), loaded)
def test_the_epoch_never_falls_and_counts_only_when_stable_answers(before, release, ready):
    routing = decide_routing(release, ready, before)
    assert routing.epoch in {before.epoch, release.epoch}
    in_force = release.stable is None or release.stable.digest in ready
    assert (routing.epoch == release.epoch) is in_force


@given(histories(), releases(9), loaded, users)
def test_nobody_beyond_the_advanced_batches_gets_the_candidate(before, release, ready, user):
    routing = decide_routing(release, ready, before)
    chosen, batch = routing.route(user)
    if chosen is not None and chosen != routing.stable:
        assert chosen == release.candidate
        assert batch < release.advanced


@given(histories(), releases(9), loaded, users)
def test_whoever_has_the_candidate_keeps_it_while_batches_only_grow(before, release, ready, user):
    routing = decide_routing(release, ready, before)
    further = decide_routing(
        release.changed(epoch=10, advanced=min(release.batches, release.advanced + 1)),
        ready,
        routing,
    )
    if routing.candidate is not None and routing.route(user)[0] == routing.candidate:
        assert further.route(user)[0] == routing.candidate


@given(histories(), releases(9), loaded)
def test_deciding_twice_changes_nothing(before, release, ready):
    once = decide_routing(release, ready, before)
    assert decide_routing(release, ready, once) == once


@given(histories(), releases(9), loaded)
def test_whoever_answers_is_also_held(before, release, ready):
    routing = decide_routing(release, ready, before)
    answering = {routing.stable, routing.candidate} - {None}
    assert answering <= set(routing.needed())


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 100))
def test_a_batch_is_one_of_those_there_are_and_always_the_same(salt, user, batches):
    batch = batch_of(salt, user, batches)
    assert 0 <= batch < batches
    assert batch == batch_of(salt, user, batches)


def test_batches_are_of_equal_size_for_consecutive_ids():
    counts = Counter(batch_of("uid/7", str(user), 10) for user in range(200_000))
    assert len(counts) == 10
    assert all(abs(count / 200_000 - 0.1) < 0.003 for count in counts.values())


def test_another_salt_cuts_other_batches():
    both = sum(
        batch_of("a", str(user), 10) == 0 and batch_of("b", str(user), 10) == 0
        for user in range(100_000)
    )
    assert abs(both / 100_000 - 0.01) < 0.002
