"""The ledger answers for keys that it does not know, only for those that were erased."""

from __future__ import annotations

import numpy as np
import pytest

from millstream_api.erasure import Erasure, Subject
from millstream_core.erasure.entries import begin_ledger, read_ledger, record
from millstream_core.erasure.ledger import Ledger
from millstream_core.store import IntegrityError, ModelStore
from tests.builders.objects import MemoryObjects

SALT = bytes(range(32))


def entered(*entries: tuple[str, Subject, list[int]]) -> Ledger:
    """A ledger of (action, subject, keys), numbered from 1."""
    ledger = Ledger(SALT)
    for action, subject, keys in entries:
        hashed = tuple(ledger.hashed(subject, key) for key in keys)
        seq = ledger.seq + 1
        entry = Erasure(seq=seq, action=action, subject=subject, keys=hashed, at=0)  # type: ignore[arg-type]
        ledger = ledger.extended([entry])
    return ledger


def chosen(mask, keys):
    return keys[mask].tolist()


KEYS = np.array([-(2**63) + 1, -5, 0, 7, 2**40, 2**63 - 1])


@pytest.mark.parametrize("key", KEYS.tolist())
def test_of_many_keys_only_the_erased_one_is_told(key):
    ledger = entered(("erase", "user", [key]))
    assert chosen(ledger.blocked("user", KEYS), KEYS) == [key]
    assert chosen(ledger.erased("user", KEYS), KEYS) == [key]


def test_a_key_of_an_item_is_not_that_of_a_user():
    ledger = entered(("erase", "user", [7]))
    assert not ledger.blocked("item", KEYS).any()


def test_a_lifted_key_may_have_a_row_again_but_older_versions_still_lose_it():
    ledger = entered(("erase", "user", [7]), ("erase", "user", [0]), ("lift", "user", [7]))
    assert chosen(ledger.blocked("user", KEYS), KEYS) == [0]
    assert chosen(ledger.erased("user", KEYS), KEYS) == [0, 7]
    assert chosen(ledger.erased("user", KEYS, after=1), KEYS) == [0]
    assert chosen(ledger.erased("user", KEYS, upto=1), KEYS) == [7]
    assert chosen(ledger.erased("user", KEYS, after=2), KEYS) == []
    assert (ledger.seq, ledger.erased_at) == (3, 2)


def test_a_key_erased_again_after_a_lift_is_blocked_again():
    ledger = entered(("erase", "user", [7]), ("lift", "user", [7]), ("erase", "user", [7]))
    assert chosen(ledger.blocked("user", KEYS), KEYS) == [7]
    assert chosen(ledger.erased("user", KEYS, after=2), KEYS) == [7]


def test_a_thousand_erased_keys_are_found_among_a_million_and_no_other():
    keys = np.random.default_rng(3).permutation(np.arange(1_000_000))
    ledger = entered(("erase", "user", keys[:1000].tolist()))
    mask = ledger.blocked("user", keys)
    assert mask[:1000].all()
    assert not mask[1000:].any()


def test_a_key_whose_tag_is_that_of_an_erased_one_is_not_erased():
    """The tag only spares hashing."""
    ledger = entered(("erase", "user", [7]))
    [entry] = [ledger.hashed("user", 7)]
    other = Ledger(SALT).hashed("user", 0).changed(tag=Ledger(SALT).hashed("user", 5).tag)
    ledger = ledger.extended([Erasure(seq=2, action="erase", subject="user", keys=(other,), at=0)])
    assert not ledger.blocked("user", np.array([5])).any()
    assert entry.hash != other.hash


def test_another_salt_makes_other_hashes_and_tags():
    mine, other = Ledger(SALT).hashed("user", 7), Ledger(SALT[::-1]).hashed("user", 7)
    assert mine.hash != other.hash
    assert mine.tag != other.tag


def test_entries_are_read_once_and_nothing_new_is_one_request():
    store = ModelStore(MemoryObjects(), "models", "shop")
    assert not read_ledger(store)
    ledger = begin_ledger(store, SALT)
    ledger = record(store, ledger, "erase", "user", [7], at=1.0, reason="asked")
    read = read_ledger(store)
    assert chosen(read.blocked("user", KEYS), KEYS) == [7]
    assert read_ledger(store, read) is read
    record(store, ledger, "erase", "item", [0], at=1.0, reason="")
    assert read_ledger(store, read).blocked("item", np.array([0])).all()


def test_two_who_erase_at_once_both_get_an_entry():
    store = ModelStore(MemoryObjects(), "models", "shop")
    first = begin_ledger(store, SALT)
    second = begin_ledger(store, SALT[::-1])
    assert second.salt == SALT
    record(store, first, "erase", "user", [7], at=1.0, reason="")
    ledger = record(store, second, "erase", "user", [0], at=1.0, reason="")
    assert ledger.seq == 2
    assert chosen(ledger.blocked("user", KEYS), KEYS) == [0, 7]
    assert chosen(read_ledger(store).blocked("user", KEYS), KEYS) == [0, 7]


@pytest.mark.parametrize("key", ["erasure/salt", "erasure/00000000000000000001"])
def test_a_ledger_that_cannot_be_read_is_not_taken_for_an_empty_one(key):
    objects = MemoryObjects()
    store = ModelStore(objects, "models", "shop")
    record(store, begin_ledger(store, SALT), "erase", "user", [7], at=1.0, reason="")
    objects.damage(key, lambda data: data[:-3])
    with pytest.raises(IntegrityError):
        read_ledger(store)


def test_the_ledger_names_no_key():
    objects = MemoryObjects()
    store = ModelStore(objects, "models", "shop")
    key = 2**50 + 12345
    record(store, begin_ledger(store, SALT), "erase", "user", [key], at=1.0, reason="")
    every = b"".join(stored.data for stored in objects.objects.values())
    assert str(key).encode() not in every
    assert key.to_bytes(8, "little") not in every
