"""Trainer and server answer alike: what was published scores as it did when it was learned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from millstream_api.manifest import CLICK, CLICK_AND_CONVERSION, MultiHash
from millstream_api.tables import EmbeddingTableSpec, MultiHashSpec, TablesSpec
from millstream_core.features import PAD
from millstream_core.tables.multihash import row_keys
from millstream_serving.engine.rows import gather
from millstream_serving.engine.versions import ModelVersion, ScratchPad
from millstream_serving.loading.shelf import Shelf
from millstream_trainer.design import Design
from millstream_trainer.learner import Learner
from millstream_trainer.models.reading import read_rows
from millstream_trainer.publishing.restoring import Restorer, restore_newest
from millstream_trainer.sources.decoding import EventBatch
from tests.builders.trainer import (
    START,
    Run,
    VirtualClock,
    make_settings,
    manifests,
    store_of,
)

REQUESTS = 10_000


MODELS = {
    **{name: (name, CLICK) for name in ("DIN", "DotProduct", "MLP", "Custom")},
    **{f"{name} with conversions": (name, CLICK_AND_CONVERSION) for name in ("DIN", "MLP")},
}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def trained(request: pytest.FixtureRequest) -> Run:
    name, tasks = request.param
    module = "tests.builders.ranker:Ranker" if name == "Custom" else None
    settings = make_settings(architecture=name, tasks=tasks, custom_module=module)
    return Run(settings=settings, clock=VirtualClock(seconds=16)).run()


@pytest.fixture(scope="module")
def shelf(trained: Run) -> Shelf:
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(store_of(trained.objects), pool)
        versions = manifests(trained.objects, trained.settings)
        shelf.load(versions[max(versions)].ref(), lambda _: True, lambda _: None)
    return shelf


@pytest.mark.parametrize("served", ["float32", "float16", "int8"])
@pytest.mark.parametrize("default", ["Zeros", "SharedOov", "HashInit"])
def test_both_sides_read_the_same_bits_for_unknown_keys(served: str, default: str) -> None:
    """R3: the policy travels with the version; a trainer that restores it and a server agree."""
    spec = EmbeddingTableSpec(served_as=served, default_row=default)
    settings = make_settings(tables=TablesSpec(user=spec, item=spec))
    run = Run(settings=settings, clock=VirtualClock(seconds=13)).run()
    versions = manifests(run.objects, settings)
    last = versions[max(versions)]
    assert last.kind == "delta"
    assert {table.default.policy for table in last.tables.values()} == {default, "Zeros"}
    unknown = np.array([10**12, -(2**63) + 1, 2**63 - 1])
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(store_of(run.objects), pool)
        shelf.load(last.ref(), lambda _: True, lambda _: None)
        restorer = Restorer(
            store_of(run.objects),
            pool,
            Design.of(settings),
            0.0,
            torch.device("cpu"),
            settings.tables,
        )
        model, _ = restore_newest(restorer, (), epoch=1)
    version = shelf.held[last.ref().digest]
    for name in ("user", "item"):
        theirs, ours = np.full((2, len(unknown), settings.embedding_dim), np.nan, np.float32)
        live = model.tables[name]
        default_row = Design.of(settings).defaults()[name]
        read_rows(live, default_row, unknown, live.slots(unknown), theirs)
        slots = version.tables[name].slots(unknown)
        gather(version.rows[name], unknown, slots, 0, len(unknown), ours)
        assert slots.tolist() == [-1, -1, -1]
        assert ours.tobytes() == theirs.tobytes()
        assert ours.any() == (default != "Zeros")


@pytest.mark.parametrize("default", ["Zeros", "SharedOov", "HashInit"])
def test_both_sides_add_up_the_same_bits(default: str) -> None:
    """R3: keys of several rows, known and not; the hashes travel with the version."""
    spec = EmbeddingTableSpec(
        default_row=default, multi_hash=MultiHashSpec(tables=3, rows=2000, seed=5)
    )
    settings = make_settings(tables=TablesSpec(user=spec, item=spec))
    run = Run(settings=settings, clock=VirtualClock(seconds=13)).run()
    versions = manifests(run.objects, settings)
    last = versions[max(versions)]
    assert last.kind == "delta"
    assert last.tables["user"].multi_hash == MultiHash(tables=3, rows=2000, seed=5)
    assert last.tables["history"].multi_hash is None
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(store_of(run.objects), pool)
        shelf.load(last.ref(), lambda _: True, lambda _: None)
        restorer = Restorer(
            store_of(run.objects),
            pool,
            Design.of(settings),
            0.0,
            torch.device("cpu"),
            settings.tables,
        )
        model, _ = restore_newest(restorer, (), epoch=99)
    assert model is not None
    version = shelf.held[last.ref().digest]
    random = np.random.default_rng(5)
    users, items = random.integers(1, 10_000, 100), random.integers(1, 10_000, 100)
    seen = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    expected = (
        Learner(model, sparse_learning_rate=0.0)
        .learn(EventBatch(users, items, np.zeros(100, np.float32), np.full(100, START)))
        .served
    )
    found = [
        version.logits(int(user), np.array([item]), version.history_of(int(user)), ScratchPad())[0]
        for user, item in zip(users, items, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-4)
    for name, rows, index, ids in (
        ("user", seen[0].users, seen[0].user_index, users),
        ("item", seen[0].items, seen[0].item_index, items),
    ):
        keys = row_keys(ids, MultiHash(tables=3, rows=2000, seed=5)).ravel()
        ours = np.empty((len(ids), settings.embedding_dim), np.float32)
        gather(version.rows[name], keys, version.tables[name].slots(keys), 0, len(ids), ours)
        assert ours.tobytes() == rows[index].detach().numpy().tobytes()


def newest(trained: Run, shelf: Shelf) -> ModelVersion:
    versions = manifests(trained.objects, trained.settings)
    return shelf.held[versions[max(versions)].ref().digest]


def test_a_server_takes_every_delta(trained: Run, shelf: Shelf) -> None:
    """Digests, parents, transform, columns and the state of each table fit."""
    kept = newest(trained, shelf)
    for name, table in trained.trainer.model.tables.items():
        assert kept.tables[name].rows == len(table)
        assert kept.tables[name].digest == table.digest


def test_scores_are_the_same_on_both_sides(trained: Run, shelf: Shelf) -> None:
    """torch over restored tables against the server's kernel over the published version."""
    with ThreadPoolExecutor(2) as pool:
        restorer = Restorer(
            store_of(trained.objects),
            pool,
            Design.of(trained.settings),
            0.0,
            torch.device("cpu"),
            trained.settings.tables,
        )
        model, _ = restore_newest(restorer, (), epoch=99)
    assert model is not None
    version, pad = newest(trained, shelf), ScratchPad()
    random = np.random.default_rng(5)
    users = random.integers(1, 400, REQUESTS)  # some are unknown
    items = random.integers(1, 260, REQUESTS)
    no_clicks = np.zeros(REQUESTS, np.float32)
    events = EventBatch(users, items, no_clicks, np.full(REQUESTS, START), conversion=no_clicks)
    expected = Learner(model, sparse_learning_rate=0.0).learn(events).served
    found = [
        version.logits(int(user), np.array([item]), version.history_of(int(user)), pad)[0]
        for user, item in zip(users, items, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert np.std(expected) > 0.05, "scores that say nothing would agree too easily"


def test_histories_and_candidates_travel_with_the_version(trained: Run, shelf: Shelf) -> None:
    version, model = newest(trained, shelf), trained.trainer.model
    assert version.popular.tolist() == model.candidates.popular().tolist()
    assert version.newest.tolist() == model.candidates.newest().tolist()
    for name, expected in model.golden.tensors().items():
        assert version.golden.tensors()[name].tolist() == expected.tolist()
    slots = model.tables["history"].slots(np.array([1, 2, 3]))
    for user, row in zip((1, 2, 3), model.tables["history"].values("items")[slots], strict=True):
        assert version.history_of(user).tolist() == row[row != PAD].tolist()
        assert len(version.history_of(user)) > 0
