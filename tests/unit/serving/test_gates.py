"""Candidates that must not serve, from the store to the operator's verdict."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from millstream_api.recserving import LaneSpec
from millstream_core.evaluation import GoldenEvents
from millstream_operator.decide.verdicts import judge_shadows
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking.answers import Asked
from millstream_serving.ranking.shadow import compare
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, random_dense, random_rows

USERS, ITEMS = 30, 40


def burst(publisher, dense):
    """An optimizer that ran away: finite values, whose products are not."""
    rows = random_rows(publisher, USERS, ITEMS)
    loud = {
        name: {key: np.full_like(row, 1e38) for key, row in rows[name].items()}
        for name in ("user", "item")
    }
    return publisher.publish(loud, dense=dense)


def label_flip(publisher, dense):
    """Clicks learned as what was passed over."""
    flipped = {f"head.2.{part}": -dense[f"head.2.{part}"] for part in ("weight", "bias")}
    return publisher.publish(dense=dense | flipped)


def lost_rows(publisher, dense):
    """Tombstones for half of the items; zeros score as something, and rank as nothing."""
    return publisher.publish(gone={"item": list(range(1000, 1000 + ITEMS // 2))}, dense=dense)


def boost(publisher, dense):
    """Everything is liked."""
    louder = {"head.2.bias": dense["head.2.bias"] + np.float32(50)}
    return publisher.publish(dense=dense | louder)


def step(publisher, dense):
    """What training does."""
    rows = random_rows(publisher, USERS, ITEMS)["user"]
    nudged = {"user": {key: row * np.float32(1.01) for key, row in rows.items()}}
    return publisher.publish(nudged, dense=dense)


def held(publisher, *refs):
    """The versions, as a server holds them."""
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        for ref in reversed(refs):
            shelf.load(ref, lambda _: True, lambda _: None)
    return [shelf.held[ref.digest] for ref in refs]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(step, "AnalysisPassed", id="a step of training passes"),
        pytest.param(burst, "NonFiniteScores", id="an optimizer's burst of 1e38"),
        pytest.param(label_flip, "ScoreCorrelationLow", id="flipped labels"),
        pytest.param(lost_rows, "DefaultRatioExceeded", id="lost rows"),
        pytest.param(boost, "ScoreShiftExceeded", id="everything is liked"),
    ],
)
def test_a_poisoned_delta_never_serves(change, reason):
    """R24: it is loaded beside stable, and taken back before a user's request meets it."""
    publisher = Publisher(MemoryObjects())
    dense = random_dense(publisher.architecture)
    stable = publisher.publish(random_rows(publisher, USERS, ITEMS), dense=dense)
    candidate = change(publisher, dense)
    draw = np.random.default_rng(0)
    recorded = [
        Asked(
            int(draw.integers(USERS)),
            1000 + draw.permutation(ITEMS)[:20],
            1000 + draw.integers(0, ITEMS, 3),
        )
        for _ in range(50)
    ]
    shadow = compare(*held(publisher, candidate, stable), recorded, lambda: None)
    verdict = judge_shadows([shadow], LaneSpec(max_score_shift=10))
    assert verdict.finding.reason == reason
    assert (verdict.outcome == "Passed") == (change is step)


def liked_by(version, events):
    """Events of which those are clicks that this version ranks higher than most."""
    draw, pad = np.random.default_rng(1), ScratchPad()
    users, items = draw.integers(0, USERS, events), draw.integers(1000, 1000 + ITEMS, events)
    logits = np.array(
        [
            version.logits(user, np.array([item]), version.history_of(user), pad)[0]
            for user, item in zip(users.tolist(), items.tolist(), strict=True)
        ]
    )
    return GoldenEvents().followed_by(users, items, logits > np.median(logits))


@pytest.mark.parametrize(
    ("change", "events", "reason"),
    [
        pytest.param(label_flip, 300, "GoldenAUCDropped", id="flipped labels"),
        pytest.param(step, 300, "AnalysisPassed", id="a step of training passes"),
        pytest.param(label_flip, 100, "AnalysisPassed", id="too few events to tell by"),
        pytest.param(burst, 300, "NonFiniteScores", id="scores that are no numbers"),
    ],
)
def test_what_stable_learned_last_is_asked_where_nobody_has_asked_anything(change, events, reason):
    """R24: no request was recorded, and the candidate's own golden events do not count."""
    publisher = Publisher(MemoryObjects())
    dense = random_dense(publisher.architecture)
    first = publisher.publish(random_rows(publisher, USERS, ITEMS), dense=dense)
    golden = liked_by(*held(publisher, first), events)
    stable = publisher.publish(dense=dense | golden.tensors())
    its_own = replace(golden, clicks=1 - golden.clicks)
    candidate = change(publisher, dense | its_own.tensors())

    shadow = compare(*held(publisher, candidate, stable), [], lambda: None)
    verdict = judge_shadows([shadow], LaneSpec())
    assert verdict.finding.reason == reason
    assert verdict.outcome == ("Passed" if reason == "AnalysisPassed" else "Failed")
