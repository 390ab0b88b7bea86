"""When a version answers in reduced precision, and when it stays with float32."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from millstream_serving.engine.agreement import BEST, REQUESTS, compare, in_reduced_precision
from millstream_serving.loading.shelf import Shelf
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, history_row, random_rows


@dataclass(frozen=True, eq=False)
class Ranked:
    """A network whose logits are numbers of its own."""

    logits: Any  # of the places in a list of candidates
    other: Any = None  # in reduced precision

    def score(self, _request, _pad, logits):
        logits[:] = self.logits[: len(logits)]

    def reduced(self):
        return self.other


PLACES = np.arange(100, 0, -1, dtype=np.float32) / 50
SWAPPED = PLACES.copy()
SWAPPED[[BEST - 1, BEST]] = PLACES[[BEST, BEST - 1]]


@pytest.fixture
def version():
    """40 users with histories, 200 items."""
    publisher = Publisher(MemoryObjects())
    rows = random_rows(publisher, 40, 200)
    rows["history"] = {user: history_row(publisher.architecture, [1000]) for user in range(40)}
    ref = publisher.publish(rows)
    with ThreadPoolExecutor(4) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(ref, {ref.digest}.__contains__, lambda _: None)
        yield shelf.held[ref.digest]


def rest():
    """Not at all."""


def test_networks_that_name_the_same_ten_agree_whatever_their_order(version):
    found = compare(replace(version, network=Ranked(PLACES)), Ranked(PLACES + 0.25), rest)
    assert (found.requests, found.shared) == (REQUESTS, 1.0)
    assert found.error == pytest.approx(1 / (1 + np.exp(-0.27)) - 1 / (1 + np.exp(-0.02)), abs=1e-6)
    assert found.is_enough()


def test_one_item_of_ten_that_differs_is_a_tenth_less(version):
    found = compare(replace(version, network=Ranked(PLACES)), Ranked(SWAPPED), rest)
    assert found.shared == pytest.approx(0.9)
    assert not found.is_enough()


def test_a_version_that_ranks_alike_answers_in_reduced_precision(version):
    other = Ranked(PLACES)
    found = in_reduced_precision(replace(version, network=Ranked(PLACES, other)), rest)
    assert (found.network, found.precision) == (other, "BFloat16")


def test_a_version_that_ranks_otherwise_stays_with_float32_and_says_why(version, caplog):
    network = Ranked(PLACES, Ranked(SWAPPED))
    found = in_reduced_precision(replace(version, network=network), rest)
    assert (found.network, found.precision) == (network, "Float32")
    assert found.agreement.shared == pytest.approx(0.9)
    assert "shares 0.9000 of the ten best" in caplog.text


def test_where_there_is_no_reduced_precision_nothing_is_compared(version):
    given = replace(version, network=Ranked(PLACES))
    assert in_reduced_precision(given, rest) is given


def test_scores_that_are_not_numbers_are_no_agreement(version):
    network = Ranked(PLACES, Ranked(np.full_like(PLACES, np.nan)))
    found = in_reduced_precision(replace(version, network=network), rest)
    assert (found.precision, found.agreement.error) == ("Float32", 1.0)


@pytest.mark.parametrize(
    ("items", "precision"), [(200, "BFloat16"), (1, "Float32")], ids=["users", "items to rank"]
)
def test_a_version_is_compared_without_users_but_not_without(items, precision):
    publisher = Publisher(MemoryObjects())
    ref = publisher.publish(random_rows(publisher, 0, items))
    with ThreadPoolExecutor(4) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(ref, {ref.digest}.__contains__, lambda _: None)
        held = replace(shelf.held[ref.digest], network=Ranked(PLACES, Ranked(PLACES)))
    assert in_reduced_precision(held, rest).precision == precision


def test_histories_are_made_up_where_the_version_has_none(version):
    seen = []

    class Looking(Ranked):
        def score(self, request, pad, logits):
            seen.append(request.history.keys.tolist())
            super().score(request, pad, logits)

    tables = version.tables | {"history": version.tables["user"]}
    bare = replace(version, network=Looking(PLACES), tables=tables)
    object.__setattr__(bare, "history_of", lambda _: np.empty(0, np.int64))
    compare(bare, Ranked(PLACES), rest)
    assert all(seen)
    assert len(set(map(tuple, seen))) > 1


def test_the_comparison_rests_after_each_request(version):
    rests = []
    compare(replace(version, network=Ranked(PLACES)), Ranked(PLACES), lambda: rests.append(1))
    assert len(rests) == REQUESTS
