"""kopf only informs: nothing of it writes, gives up, or asks for more rights."""

from __future__ import annotations

import itertools

import kopf
import pytest

from millstream_operator.handlers.watching import (
    LONGEST_PAUSE_SECONDS,
    EndlessBackoff,
    registry_for,
    settings_for,
)
from millstream_operator.shell.access import Access
from millstream_operator.shell.kinds import WATCHED


@pytest.fixture
def registry() -> kopf.OperatorRegistry:
    access = Access("https://api", "/ca", "/crt", "/key", verifies=True, authorization="Bearer t")
    return registry_for(WATCHED, lambda *_: None, lambda: access)


def test_every_kind_is_watched_by_event_and_in_no_other_way(registry):
    watched = {handler.selector.any_name for handler in registry._watching.get_all_handlers()}
    assert watched == {kind.plural for kind in WATCHED}
    for forbidden in ("_changing", "_spawning", "_indexing", "_webhooks"):
        assert not list(getattr(registry, forbidden).get_all_handlers()), forbidden


def test_kopf_logs_in_with_our_own_access(registry):
    [login] = [
        handler for handler in registry._activities.get_all_handlers() if handler.activity.name
    ]
    info = login.fn()
    assert (info.server, info.scheme, info.token) == ("https://api", "Bearer", "t")
    assert (info.ca_path, info.certificate_path) == ("/ca", "/crt")


def test_requests_are_tried_again_without_end():
    pauses = list(itertools.islice(EndlessBackoff(lambda: 1.0), 1000))
    assert pauses[:5] == [1, 2, 4, 8, LONGEST_PAUSE_SECONDS]
    assert set(pauses[4:]) == {LONGEST_PAUSE_SECONDS}
    backoff = EndlessBackoff(lambda: 1.0)
    assert next(iter(backoff)) == next(iter(backoff)) == 1, "each request begins anew"


def test_it_asks_for_no_further_rights_and_writes_nothing():
    settings = settings_for(lambda: 0.0)
    assert settings.scanning.disabled
    assert settings.peering.standalone
    assert not settings.posting.enabled


def test_only_our_own_children_are_listed():
    settings = settings_for(lambda: 0.0)
    assert len(settings.watching.label_selectors) == len(WATCHED) - 2
    assert set(settings.watching.label_selectors.values()) == {
        "app.kubernetes.io/managed-by=millstream"
    }
