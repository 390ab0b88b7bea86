"""What is a key of the erased, and what only looks like one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from millstream_api.erasure import Erasure
from millstream_core.checkpoint import TableRows
from millstream_core.erasure.ledger import Ledger
from millstream_core.erasure.rows import Sieve
from millstream_core.erasure.searching import Needle
from millstream_core.evaluation import GoldenEvents
from millstream_core.features import PAD, Transform
from millstream_core.tables.digest import EMPTY_STATE
from millstream_core.tables.snapshots import ColumnSpec, Rows, seal
from millstream_core.tables.training import TrainingTable

LARGE = 2**40 + 1


def sieve(subject, *keys: int, after: int = 0) -> Sieve:
    ledger = Ledger(bytes(32))
    hashed = tuple(ledger.hashed(subject, key) for key in keys)
    entry = Erasure(seq=1, action="erase", subject=subject, keys=hashed, at=0)
    return Sieve(ledger.extended([entry]), Transform(history_length=3), after, Counter())


def rows(*keys: int, gone: tuple[int, ...] = (), **columns) -> TableRows:
    return TableRows(np.array(keys), columns, np.array(gone, np.int64))


@pytest.mark.parametrize(
    ("name", "kept", "left"),
    [
        pytest.param("user", [1, 7], [9], id="rows and tombstones of users"),
        pytest.param("history", [1, 7], [9], id="rows of histories"),
        pytest.param("user.waiting", [1, 7], [9], id="users who wait for a row"),
        pytest.param("user.sketch-4x64", [1, 5, 7], [5, 9], id="cells of a sketch are of no key"),
        pytest.param("item", [1, 5, 7], [5, 9], id="an item of the same number"),
    ],
)
def test_a_user_is_taken_out_of(name, kept, left) -> None:
    found = sieve("user", 5).rows(name, rows(1, 5, 7, gone=(5, 9)))
    assert (found.keys.tolist(), found.gone.tolist()) == (kept, left)


def test_what_a_version_was_written_without_is_not_looked_for_again() -> None:
    """Somebody who was let in again since has rows of their own."""
    given = rows(1, 5)
    assert sieve("user", 5, after=1).rows("user", given) is given


def test_an_item_is_taken_out_of_histories_and_of_every_list_with_its_weight() -> None:
    made = sieve("item", 5)
    given = rows(5, 6, items=np.array([[PAD, 5, 9], [5, 5, 1]]))
    found = made.rows("history", given)
    assert found.columns["items"].tolist() == [[PAD, PAD, 9], [PAD, PAD, 1]]
    assert found.keys.tolist() == [5, 6]
    lists = {
        "candidates.popular": np.array([5, 1]),
        "popularity.items": np.array([1, 5, 2]),
        "popularity.weights": np.array([3.0, 2.0, 1.0]),
        "head.0.weight": np.array([5.0]),
    }
    left = {name: array.tolist() for name, array in made.dense(lists).items()}
    assert left == {
        "candidates.popular": [1],
        "popularity.items": [1, 2],
        "popularity.weights": [3.0, 1.0],
        "head.0.weight": [5.0],
    }
    assert made.taken == {"histories": 2, "candidates": 2}


@pytest.mark.parametrize(
    ("subject", "users", "items"),
    [("user", [6, 6], [5, 7]), ("item", [5, 6], [6, 7])],
)
def test_an_event_goes_with_its_user_and_with_its_item(subject, users, items) -> None:
    made = sieve(subject, 5)
    events = GoldenEvents(np.array([5, 6, 6]), np.array([6, 5, 7]), np.array([1, 0, 1], np.uint8))
    left = GoldenEvents.of(made.dense(events.tensors()))
    assert (left.users.tolist(), left.items.tolist()) == (users, items)
    assert len(left.clicks) == 2
    assert made.taken == {"golden": 1}


def keys_of(*keys: int) -> bytes:
    return np.array(keys).tobytes()


@pytest.mark.parametrize(
    ("key", "data", "found"),
    [
        ("l/data/1-a/serve/user/0-1023.keys", keys_of(1, 5), (True, "parsed")),
        ("l/data/1-a/serve/user/0-1023.evicted", keys_of(5), (True, "parsed")),
        ("l/data/1-a/serve/user/evicted", keys_of(5), (True, "parsed")),
        ("l/data/1-a/train/history/0-1023.keys", keys_of(5), (True, "parsed")),
        ("l/data/1-a/train/user.waiting/0-1023.keys", keys_of(5), (True, "parsed")),
        ("l/data/1-a/train/user.sketch-1x9/0-1023.keys", keys_of(5), (False, "parsed")),
        ("l/data/1-a/serve/item/0-1023.keys", keys_of(5), (False, "parsed")),
        ("l/data/1-a/serve/history/0-1023.items", keys_of(5), (False, "parsed")),
        ("l/data/1-a/serve/user/0-1023.rows", keys_of(LARGE), (True, "raw")),
        ("l/manifest/1-a.json", f'{{"min": "{LARGE}"}}'.encode(), (True, "raw")),
        ("l/manifest/1-a.json", f'{{"min": "{LARGE}7"}}'.encode(), (False, "raw")),
        ("whatever", b"-" + keys_of(LARGE), (True, "raw")),
        ("whatever", b"5", (False, "raw")),
    ],
)
def test_what_holds_a_user(key, data, found) -> None:
    assert Needle("user", np.array([5, LARGE])).is_in(key, data) == found


def test_a_small_number_is_not_searched_for_by_its_bytes() -> None:
    assert Needle("user", np.array([5])).is_in("whatever", keys_of(5)) == (False, "neither")


SPECS = {"rows": ColumnSpec(dtype="float32", width=2, serve="float32", uniform=0.1)}


def committed(table: TrainingTable) -> Rows:
    sealed = seal(table.snapshot(whole=False))
    table.committed(sealed)
    return sealed.snapshot.rows


def test_an_erased_row_leaves_no_tombstone_and_a_digest_that_never_had_it() -> None:
    """R5, R15: rows committed, rows written since, and rows that left and were not told yet."""
    table, other = (TrainingTable(SPECS, seed=3) for _ in range(2))
    table.admit(np.array([1, 2, 3, 4]))
    committed(table)
    table.evict(table.slots(np.array([3, 4])))
    table.admit(np.array([5, 6]))
    assert table.erase(lambda keys: np.isin(keys, [2, 3, 5])) == 2
    other.admit(np.array([1, 4]))
    committed(other)
    assert table.digest == other.digest
    other.evict(other.slots(np.array([4])))
    other.admit(np.array([6]))
    mine, theirs = committed(table), committed(other)
    assert mine.gone.tolist() == theirs.gone.tolist() == [4]
    assert mine.keys.tolist() == theirs.keys.tolist() == [6]
    assert table.digest == other.digest != EMPTY_STATE
    assert len(table) == 2
