"""Who answers, for a release and what is loaded."""

from __future__ import annotations

import pytest

from millstream_api.release import Release, batch_of
from millstream_serving.releases.routing import NOWHERE, decide_routing, is_newer
from tests.builders.serving import make_ref

V1, V2, V3 = make_ref(1), make_ref(2), make_ref(3)


def digests(*refs):
    return {ref.digest for ref in refs}


def make_release(**fields):
    return Release(**({"epoch": 5, "salt": "s", "stable": V2} | fields))


BEFORE = decide_routing(make_release(epoch=4, stable=V1), digests(V1))


@pytest.mark.parametrize(
    ("release", "ready", "before", "wanted"),
    [
        pytest.param(
            make_release(),
            digests(V2),
            NOWHERE,
            (V2, None, 5, "StableLoaded"),
            id="stable is loaded",
        ),
        pytest.param(
            make_release(candidate=V3),
            digests(V2, V3),
            NOWHERE,
            (V2, V3, 5, "StableLoaded"),
            id="stable and candidate are loaded",
        ),
        pytest.param(
            make_release(candidate=V3),
            digests(V2),
            NOWHERE,
            (V2, None, 5, "StableLoaded"),
            id="a candidate that is not loaded gets nobody",
        ),
        pytest.param(
            make_release(stable=None, candidate=V3),
            digests(V3),
            NOWHERE,
            (None, None, 5, "NoVersion"),
            id="before the first promotion nobody answers",
        ),
        pytest.param(
            make_release(),
            digests(V1),
            BEFORE,
            (V1, None, 4, "StandIn"),
            id="the stable before goes on until the new one is loaded",
        ),
        pytest.param(
            make_release(candidate=V3),
            digests(V1, V3),
            BEFORE,
            (V1, None, 4, "StandIn"),
            id="no candidate without its stable",
        ),
        pytest.param(
            make_release(hold=(V3,)),
            digests(V3),
            NOWHERE,
            (V3, None, 0, "StandIn"),
            id="a held version stands in on a replica that just started",
        ),
        pytest.param(
            make_release(hold=(V3,), quarantined=(V1.digest,)),
            digests(V1, V3),
            BEFORE,
            (V3, None, 4, "StandIn"),
            id="a held version rather than a quarantined one",
        ),
        pytest.param(
            make_release(quarantined=(V1.digest,)),
            digests(V1),
            BEFORE,
            (V1, None, 4, "StandIn"),
            id="a quarantined version rather than none",
        ),
        pytest.param(
            make_release(),
            digests(),
            BEFORE,
            (None, None, 4, "StableNotLoaded"),
            id="nothing is loaded",
        ),
    ],
)
def test_who_answers(release, ready, before, wanted):
    routing = decide_routing(release, ready, before)
    assert (routing.stable, routing.candidate, routing.epoch, routing.reason) == wanted


def test_a_user_in_an_advanced_batch_gets_the_candidate_and_others_get_stable():
    routing = decide_routing(make_release(candidate=V3, advanced=4), digests(V2, V3))
    for user in map(str, range(200)):
        batch = batch_of("s", user, 10)
        assert routing.route(user) == (V3 if batch < 4 else V2, batch)


def test_everybody_gets_stable_while_the_candidate_is_not_loaded_and_the_batch_is_still_told():
    routing = decide_routing(make_release(candidate=V3, advanced=10), digests(V2))
    assert routing.route("7") == (V2, batch_of("s", "7", 10))


def test_a_request_without_a_user_gets_stable():
    routing = decide_routing(make_release(candidate=V3, advanced=10), digests(V2, V3))
    assert routing.route(None) == (V2, None)


def test_the_version_that_stands_in_is_held_although_the_release_does_not_want_it():
    routing = decide_routing(make_release(candidate=V3), digests(V1), BEFORE)
    assert routing.needed() == (V2, V3, V1)


def test_roles_are_those_that_users_see():
    routing = decide_routing(make_release(candidate=V3, hold=(V1,)), digests(V1, V2, V3))
    assert [routing.role(ref.digest) for ref in (V2, V3, V1)] == ["stable", "candidate", "previous"]


@pytest.mark.parametrize(
    ("epoch", "known", "newer"),
    [
        pytest.param(1, None, True, id="the first one read"),
        pytest.param(6, 5, True, id="a higher epoch"),
        pytest.param(5, 5, False, id="the same one again"),
        pytest.param(4, 5, False, id="a lower epoch"),
    ],
)
def test_epochs_only_grow(epoch, known, newer):
    before = None if known is None else Release(epoch=known)
    assert is_newer(Release(epoch=epoch), before) is newer
