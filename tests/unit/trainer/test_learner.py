"""One step: scored as a server would, learned from, the same on every replay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from millstream_api.manifest import MultiHash
from millstream_api.tables import EmbeddingTableSpec, TablesSpec
from millstream_core.features import PAD, ContextFeatures
from millstream_core.tables import encoding
from millstream_core.tables.lifecycle import SWEEP_STEPS
from millstream_core.tables.multihash import row_keys
from millstream_core.tables.snapshots import seal
from millstream_core.tables.usage import ONE
from millstream_trainer.design import SERVED, Design
from millstream_trainer.learner import Diverged, Learner
from millstream_trainer.model import LiveModel
from millstream_trainer.models.networks import Inputs
from millstream_trainer.models.reading import read_rows
from millstream_trainer.sources.decoding import decode
from millstream_trainer.sources.synthetic import SyntheticStream
from tests.builders.features import make_features
from tests.builders.trainer import START, make_batch, make_settings

CPU = torch.device("cpu")


def make_model(rules: dict[str, Any] | None = None, **overrides: Any) -> LiveModel:
    tables = TablesSpec.model_validate(rules or {})
    return LiveModel.fresh(Design.of(make_settings(**overrides)), 0.001, CPU, tables)


def make_learner(model: LiveModel) -> Learner:
    return Learner(model, sparse_learning_rate=0.05)


def rows(model: LiveModel, table: str, *keys: int) -> np.ndarray:
    slots = model.tables[table].slots(np.array(keys, np.int64))
    assert (slots >= 0).all()
    return model.tables[table].values("rows")[slots].copy()


def logit_of(model: LiveModel, user: np.ndarray, item: np.ndarray, history: list) -> float:
    """What the network says of these rows."""
    items = torch.from_numpy(np.array([item, *history], np.float32))
    length = len(history)
    with torch.no_grad():
        return float(
            model.network(
                Inputs(
                    torch.from_numpy(user[None].astype(np.float32)),
                    items,
                    torch.zeros(1, dtype=torch.long),
                    torch.zeros(1, dtype=torch.long),
                    torch.arange(1, 1 + length)[None],
                    torch.ones((1, length), dtype=torch.bool),
                )
            )[0]
        )


ZEROS = np.zeros(8, np.float32)


def test_unknown_keys_are_scored_as_zeros_whatever_row_they_get() -> None:
    model = make_model()
    expected = logit_of(model, ZEROS, ZEROS, [])
    assert make_learner(model).learn(make_batch([1], [2], [1])).served == pytest.approx([expected])
    assert rows(model, "user", 1).any()


def test_rows_of_a_context_are_read_and_learned_from() -> None:
    """The step of row-wise Adagrad, written out; what several events read adds up."""
    features = make_features()
    model = make_model(features=features, feature_dim=4)
    contexts = ContextFeatures(features).encode([{"device": "web", "price": 3}, {"hour": 7}])
    batch = make_batch([1, 2], [5, 6], [1, 0], context=contexts)
    leaf = torch.zeros((2, 7, 4), requires_grad=True)
    rest = torch.zeros((2, 24))  # of users, items and interests nothing is known yet
    hidden = torch.cat([rest, leaf.flatten(1), torch.from_numpy(contexts.floats)], dim=1)
    layers = list(model.network.head)
    for layer in layers[:-1]:
        hidden = torch.relu(layer(hidden))
    expected = layers[-1](hidden).squeeze(1)
    labels = torch.from_numpy(batch.label)
    torch.nn.functional.binary_cross_entropy_with_logits(expected, labels).backward()
    keys = np.unique(contexts.keys)
    gradients = np.array(
        [leaf.grad.numpy()[contexts.keys == key].sum(axis=0) for key in keys], np.float32
    )
    drawn = make_model(features=features, feature_dim=4).tables["context"]
    drawn.admit(keys)
    start = drawn.values("rows")[drawn.slots(keys)]

    np.testing.assert_allclose(
        make_learner(model).learn(batch).served, expected.detach(), atol=1e-6
    )

    scale = 0.05 / (np.sqrt((gradients**2).mean(axis=1, keepdims=True)) + 1e-8)
    np.testing.assert_allclose(rows(model, "context", *keys), start - scale * gradients, atol=1e-5)


def test_features_of_plain_numbers_need_no_table() -> None:
    features = make_features({"name": "price", "normalise": {"mean": 0, "std": 1}})
    model = make_model(features=features)
    assert set(model.tables) == {"user", "item", "history"}
    low, high = (
        make_learner(make_model(features=features))
        .learn(
            make_batch([1], [2], [1], context=ContextFeatures(features).encode([{"price": price}]))
        )
        .served
        for price in (-1, 1)
    )
    assert low != high


def tables_of(default: str, served: str = "float32") -> TablesSpec:
    spec = EmbeddingTableSpec(default_row=default, served_as=served)
    return TablesSpec(user=spec, item=spec)


def read(model: LiveModel, table: str, *keys: int) -> np.ndarray:
    found = np.full((len(keys), 8), np.nan, np.float32)
    live, wanted = model.tables[table], np.array(keys)
    read_rows(live, model.design.defaults()[table], wanted, live.slots(wanted), found)
    return found


def test_unknown_keys_are_scored_as_the_rows_that_they_then_get() -> None:
    """R3: with HashInit learning goes on from what was read."""
    model = make_model(tables=tables_of("HashInit", "int8"))
    user, item = read(model, "user", 1)[0], read(model, "item", 2)[0]
    expected = logit_of(model, user, item, [])
    before = model.network.tensors()
    learner = Learner(model, sparse_learning_rate=0.0)
    assert learner.learn(make_batch([1], [2], [1])).served == pytest.approx([expected])
    assert before.keys() == model.network.tensors().keys()
    np.testing.assert_array_equal(rows(model, "user", 1)[0], user)
    np.testing.assert_array_equal(rows(model, "item", 2)[0], item)


def test_the_shared_row_learns_from_all_unknown_keys_and_from_no_other() -> None:
    model = make_model(tables=tables_of("SharedOov"))
    learner = make_learner(model)
    learner.learn(make_batch([1, 2, 3], [5, 6, 7], [1, 1, 0]))
    table = model.tables["item"]
    slots = table.slots(np.array([PAD, 5, 6, 7]))
    # All read the same, so their gradients differ in length and sign alone; the accumulator keeps
    # the mean square.
    shared, *lengths = np.sqrt(table.values("accumulator")[slots, 0])
    assert shared == pytest.approx(lengths[0] + lengths[1] - lengths[2], rel=1e-4)
    shared = rows(model, "item", PAD)
    learner.learn(make_batch([1, 2], [5, 6], [0, 1]))
    np.testing.assert_array_equal(rows(model, "item", PAD), shared)
    learner.learn(make_batch([1], [8], [0]))
    assert (rows(model, "item", PAD) != shared).any()


def test_the_shared_row_travels_like_any_other() -> None:
    model = make_model(tables=tables_of("SharedOov"))
    learner = make_learner(model)
    learner.learn(make_batch([1], [5], [0]))
    for table in model.tables.values():
        table.committed(seal(table.snapshot(whole=True)))
    learner.learn(make_batch([1], [5], [0]))
    assert PAD not in model.tables["item"].snapshot(whole=False).rows.keys
    learner.learn(make_batch([1], [6], [0]))
    assert PAD in model.tables["item"].snapshot(whole=False).rows.keys
    assert PAD not in model.tables["user"].snapshot(whole=False).rows.keys


@pytest.mark.parametrize("served", ["float32", "float16", "int8"])
def test_unknown_keys_are_scored_as_the_shared_row_in_the_form_that_servers_read(
    served: str,
) -> None:
    """R3: before and after int8."""
    model = make_model(tables=tables_of("SharedOov", served))
    learner = make_learner(model)
    assert not read(model, "user", 9).any()
    for user in range(1, 5):
        learner.learn(make_batch([user], [user], [1]))
    exact, found = rows(model, "user", PAD), read(model, "user", 9)
    form = SERVED[served]
    np.testing.assert_array_equal(found, encoding.decode(encoding.encode(exact, form), form))
    assert np.array_equal(found, exact) is (served == "float32")
    expected = logit_of(model, found[0], read(model, "item", 9)[0], [])
    assert learner.learn(make_batch([9], [9], [1])).served == pytest.approx([expected], rel=1e-5)


def test_the_filler_of_histories_reads_as_nothing_also_where_it_has_a_row() -> None:
    """PAD in a history is masked; as the shared row's key it is an item like any other."""
    model = make_model(tables=tables_of("SharedOov"))
    learner = make_learner(model)
    learner.learn(make_batch([1, 2], [5, 6], [1, 1]))
    user, item = rows(model, "user", 1)[0], rows(model, "item", 6, 5)
    expected = logit_of(model, user, item[0], [item[1]])
    assert learner.learn(make_batch([1], [6], [0])).served == pytest.approx([expected], rel=1e-4)


def test_an_event_is_scored_before_it_is_learned() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1, 1], [2, 3], [1, 0]))
    user, (item, clicked) = rows(model, "user", 1)[0], rows(model, "item", 3, 2)
    expected = logit_of(model, user, item, [clicked])
    assert learner.learn(make_batch([1], [3], [1])).served == pytest.approx([expected], rel=1e-4)


def test_events_of_one_batch_do_not_see_each_others_rows_but_their_clicks() -> None:
    """As a server would that has the state of before the batch and the user's clicks since."""
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1, 2], [2, 3], [0, 0]))
    user, (two, three) = rows(model, "user", 1)[0], rows(model, "item", 2, 3)
    expected = [logit_of(model, user, two, []), logit_of(model, user, three, [two])]
    found = learner.learn(make_batch([1, 1], [2, 3], [1, 0])).served
    assert found == pytest.approx(expected, rel=1e-4)


def test_learning_moves_scores_towards_what_happened() -> None:
    model = make_model()
    learner = make_learner(model)
    batch = make_batch([1, 2], [5, 6], [1, 0])
    first = learner.learn(batch).served
    for _ in range(50):
        last = learner.learn(batch).served
    assert last[0] > first[0] + 0.5
    assert last[1] < first[1] - 0.5


def test_only_what_an_event_is_about_is_written() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1, 2], [5, 6], [1, 1]))
    for table in model.tables.values():
        table.committed(seal(table.snapshot(whole=True)))
    learner.learn(make_batch([1], [6], [0]))
    written = {
        name: sorted(table.snapshot(whole=False).rows.keys) for name, table in model.tables.items()
    }
    # Item 5 is in the history of user 1; the history itself stays, because nothing was clicked.
    assert written == {"user": [1], "item": [5, 6], "history": []}


def test_the_filler_never_gets_a_row() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1], [5], [1]))
    learner.learn(make_batch([1], [6], [1]))
    assert model.tables["item"].slots(np.array([PAD])).tolist() == [-1]
    assert len(model.tables["item"]) == 2


def test_histories_hold_the_last_clicks() -> None:
    model = make_model(history_length=3)
    learner = make_learner(model)
    for item in range(10, 15):
        learner.learn(make_batch([1], [item], [item % 2]))
    slot = model.tables["history"].slots(np.array([1]))
    assert model.tables["history"].values("items")[slot].tolist() == [[PAD, 11, 13]]
    assert model.candidates.popular().tolist() == [11, 13]
    assert model.candidates.newest().tolist() == [14, 13, 12, 11, 10]


def test_users_who_click_nothing_have_no_history() -> None:
    model = make_model()
    make_learner(model).learn(make_batch([1], [5], [0]))
    assert len(model.tables["history"]) == 0


def test_steps_and_events_are_counted() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1, 2, 3], [5, 6, 7], [1, 0, 1]))
    learner.learn(make_batch([1], [5], [0]))
    assert (model.step, model.events) == (2, 4)


def test_a_key_that_waits_reads_as_unknown_and_is_not_new_yet() -> None:
    """R2: it is scored as a server would, which has no row of it either."""
    model = make_model({"item": {"admission": {"counter": {"threshold": 2}}}})
    learner = make_learner(model)
    learner.learn(make_batch([1], [5], [0]))
    assert len(model.tables["item"]) == 0
    assert model.candidates.newest().tolist() == []
    user = rows(model, "user", 1)[0]
    expected = logit_of(model, user, ZEROS, [])
    assert learner.learn(make_batch([1], [5], [0])).served == pytest.approx([expected], rel=1e-4)
    assert model.candidates.newest().tolist() == [5]
    assert rows(model, "item", 5).any()


def test_items_in_a_history_are_uses_of_the_item() -> None:
    model = make_model({"item": {"admission": {"counter": {"threshold": 3}}}})
    learner = make_learner(model)
    learner.learn(make_batch([1], [5], [1]))  # 5
    learner.learn(make_batch([1, 1], [6, 6], [0, 0]))  # 5 twice, seen by both
    assert model.tables["item"].slots(np.array([5, 6])).tolist() == [0, -1]


def test_usage_counts_occurrences_by_event_time() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1, 1, 2], [5, 6, 6], [1, 0, 1], time=START))
    learner.learn(make_batch([1], [6], [0], time=START + 9))
    usage = {
        name: {
            int(key): [int(count) // 256, int(step), int(time - START)]
            for key, (count, step, time) in zip(
                table.keys_at(table.all_slots()),
                table.values("usage")[table.all_slots()].tolist(),
                strict=True,
            )
        }
        for name, table in model.tables.items()
    }
    assert usage == {
        "user": {1: [3, 2, 9], 2: [1, 1, 0]},
        # Item 5 is in the history of user 1 as of its second and third event.
        "item": {5: [3, 2, 9], 6: [3, 2, 9]},
        "history": {1: [1, 1, 0], 2: [1, 1, 0]},
    }


def test_tables_forget_independently() -> None:
    model = make_model(
        {
            "user": {"eviction": {"ttl": {"seconds": 5}}},
            "history": {"eviction": {"lfu": {"capacity": 1}}},
        }
    )
    learner = make_learner(model)
    learner.learn(make_batch([1, 2], [5, 6], [1, 1], time=START))
    for step in range(1, SWEEP_STEPS):
        learner.learn(make_batch([2], [6], [step == 1], time=START + step))
    assert model.tables["user"].slots(np.array([1])).tolist() == [-1]
    assert model.tables["item"].slots(np.array([5])).tolist() != [-1]
    assert model.tables["history"].slots(np.array([1])).tolist() == [-1]
    assert model.tables["history"].slots(np.array([2])).tolist() != [-1]


def test_one_event_with_a_wrong_date_evicts_nobody() -> None:
    model = make_model({"user": {"eviction": {"ttl": {"seconds": 5}}}})
    learner = make_learner(model)
    for _ in range(SWEEP_STEPS):
        batch = make_batch([1, 2, 3], [5, 6, 7], [0, 0, 0])
        batch.time[0] += 1e9
        learner.learn(batch)
    assert len(model.tables["user"]) == 3
    assert model.clock == START


def test_the_clock_of_the_stream_never_goes_back() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1], [5], [0], time=START + 9))
    learner.learn(make_batch([1], [5], [0], time=START))
    assert model.clock == START + 9


def test_a_model_that_diverges_is_stopped_with_advice() -> None:
    model = make_model()
    learner = make_learner(model)
    learner.learn(make_batch([1], [5], [1]))
    model.tables["item"].values("rows")[0] = np.nan
    with pytest.raises(Diverged, match=r"lower optimizer\.sparseLearningRate"):
        learner.learn(make_batch([1], [5], [1]))


def test_the_same_events_give_the_same_bits() -> None:
    settings = make_settings()
    assert settings.synthetic is not None

    def train() -> LiveModel:
        model, stream = make_model(), SyntheticStream(settings.synthetic)
        learner = make_learner(model)
        for _ in range(30):
            learner.learn(decode(stream.poll(64, START + 1e6).records))
        return model

    first, second = train(), train()
    for name, table in first.tables.items():
        assert (
            seal(table.snapshot(whole=True)).digest_after
            == seal(second.tables[name].snapshot(whole=True)).digest_after
        )
    for tensors in ("serve_tensors", "train_tensors"):
        ours, theirs = getattr(first, tensors)(), getattr(second, tensors)()
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


BY = MultiHash(tables=2, rows=1024, seed=3)
HASHED = TablesSpec.model_validate(
    {name: {"multiHash": {"rows": 1024, "seed": 3}} for name in ("user", "item")}
)


def sharing_a_row_with(item: int) -> int:
    """Another item whose first row is the same."""
    others = np.arange(10_000, 30_000)
    is_same = row_keys(others, BY)[:, 0] == row_keys(np.array([item]), BY)[0, 0]
    return int(others[is_same][0])


def test_a_key_of_several_rows_is_their_sum() -> None:
    """Every row takes the step that the sum of all its uses asks for, once."""
    model = make_model(tables=HASHED)
    learner = make_learner(model)
    # Item 5 twice, and an item that shares a row with item 6: rows come from several keys.
    items = [5, 5, 6, sharing_a_row_with(6)]
    first = row_keys(np.array([6]), BY)[0, 0]
    learner.learn(make_batch([1, 1, 1, 1], items, [0, 0, 0, 0]))
    table = model.tables["item"]
    keys = row_keys(np.array(items), BY)
    assert sorted(table.keys_at(table.all_slots())) == sorted(set(keys.ravel().tolist()))
    before = {key: rows(model, "item", key)[0] for key in set(keys.ravel().tolist())}
    seen: list[Inputs] = []
    hook = model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    learner.learn(make_batch([1, 1, 1, 1], items, [0, 0, 0, 0]))
    hook.remove()
    for place, (one, other) in zip(seen[0].item_index, keys.tolist(), strict=True):
        assert seen[0].items[place].tolist() == (before[one] + before[other]).tolist()
    used = {key: keys.ravel().tolist().count(key) for key in before}
    usage = table.values("usage")[table.slots(np.array(list(used)))]
    assert (usage[:, 0] // ONE).tolist() == [2 * count for count in used.values()]
    shared = [key for key, count in used.items() if count > 1 and key == first]
    assert shared == [first]


def test_gradients_of_a_sum_reach_each_of_its_rows() -> None:
    model = make_model(tables=HASHED)
    learner = make_learner(model)
    for _ in range(2):
        learner.learn(make_batch([1], [6], [1]))
    (one, other), accumulators = row_keys(np.array([6]), BY)[0], model.tables["item"]
    held = accumulators.values("accumulator")[accumulators.slots(np.array([one, other])), 0]
    assert held[0] == held[1] > 0


def test_keys_without_end_take_rows_that_end() -> None:
    model = make_model(tables=HASHED)
    learner = make_learner(model)
    for step in range(40):
        many = list(range(step * 200, step * 200 + 200))
        learner.learn(make_batch(many, many, [1] * 200))
    assert len(model.tables["user"]) == len(model.tables["item"]) == 2 * 1024
    assert PAD not in model.tables["item"].keys_at(model.tables["item"].all_slots())
    assert len(model.tables["history"]) == 8000


def test_an_item_is_new_while_one_of_its_rows_is() -> None:
    model = make_model(tables=HASHED)
    learner = make_learner(model)
    learner.learn(make_batch([1, 1], [5, 6], [1, 0]))
    assert sorted(model.candidates.newest().tolist()) == [5, 6]
    other = sharing_a_row_with(5)
    learner.learn(make_batch([1, 1], [5, other], [1, 0]))
    assert sorted(model.candidates.newest().tolist()) == [5, 6, other]
