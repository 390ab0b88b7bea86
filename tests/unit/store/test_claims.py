"""Epochs of writers: claimed once, highest wins."""

from __future__ import annotations

import pytest

from millstream_core.store import (
    ModelStore,
    ObjectStore,
    PreconditionFailed,
    StoreUnavailable,
    claims,
)
from tests.builders.claims_contract import LINEAGE, ClaimsContract
from tests.builders.manifests import make_manifest
from tests.builders.objects import MemoryObjects


class TestClaims(ClaimsContract):
    @pytest.fixture
    def objects(self) -> ObjectStore:
        return MemoryObjects()


@pytest.fixture
def store() -> ModelStore:
    return ModelStore(MemoryObjects(), "", "shop")


def test_a_process_that_asks_again_keeps_its_epoch(store: ModelStore) -> None:
    assert store.claim(LINEAGE, "trainer", "a") == 1
    assert store.claim(LINEAGE, "trainer", "a") == 1
    assert store.claim(LINEAGE, "trainer", "b") == 2
    assert store.claim(LINEAGE, "trainer", "a") == 3, "it has been replaced meanwhile"


def test_an_epoch_is_above_that_of_the_newest_version(store: ModelStore) -> None:
    store.commit(make_manifest(1, writer_epoch=7))
    assert store.claim(LINEAGE, "trainer", "a") == 8


def test_lineages_have_epochs_of_their_own(store: ModelStore) -> None:
    assert store.claim("a" * 12, "trainer", "a") == 1
    assert store.claim("b" * 12, "trainer", "a") == 1


def test_epochs_are_not_tried_for_ever() -> None:
    class Contended(MemoryObjects):
        def put(self, key: str, *_: object, **__: object) -> str:
            raise PreconditionFailed(key)

    with pytest.raises(StoreUnavailable, match=f"{claims.TRIES} epochs"):
        ModelStore(Contended(), "", "shop").claim(LINEAGE, "trainer", "a")
