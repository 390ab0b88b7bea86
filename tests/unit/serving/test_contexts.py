"""What the context of a request does to its scores, and which transforms a server takes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from millstream_core.features import ContextFeatures, Transform, read_context
from millstream_serving.engine.architectures import shapes_of
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.features.store import VersionedHistory
from millstream_serving.loading.checks import Refused
from millstream_serving.loading.shelf import Shelf
from millstream_serving.ranking.answers import Asked, Query, answer
from millstream_serving.ranking.shadow import compare
from tests.builders.definitions import logit_by_definition
from tests.builders.features import context_inputs, make_features
from tests.builders.objects import MemoryObjects
from tests.builders.serving import Publisher, make_architecture, random_dense, random_rows

FEATURES = make_features()
COMPILED = ContextFeatures(FEATURES)
GIVEN = {"country": "de", "device": "web", "hour": 7, "price": 12.5, "score": 0.5}
OTHER = GIVEN | {"device": "phone", "price": 3}
ITEMS = np.arange(1000, 1008)


def make_publisher(features=FEATURES, **changes):
    """A lineage with a base of which some rows of features are trained."""
    architecture = make_architecture(context=context_inputs(features), **changes)
    made = Publisher(MemoryObjects(), features=features, architecture=architecture)
    rows = random_rows(made, 5, 10)
    if architecture.context.rows:
        keys = ContextFeatures(features).encode([GIVEN, OTHER]).keys.ravel().tolist()
        values = np.random.default_rng(4).standard_normal((len(keys), 4)).astype(np.float32)
        rows["context"] = dict(zip(keys, values, strict=True))
    made.publish(rows)
    return made


@pytest.fixture
def publisher():
    return make_publisher()


def load(publisher):
    """The newest version."""
    ref = publisher.latest.ref()
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(ref, lambda _: True, lambda _: None)
    return shelf.held[ref.digest]


def by_definition(publisher, user, item, context):
    """The logit of a user without a history."""
    encoded, zeros = COMPILED.encode([context]), np.zeros(4)
    tables = publisher.tables
    rows = [tables["context"].get(key, zeros) for key in encoded.keys[0].tolist()]
    dense = random_dense(publisher.architecture, publisher.latest.version)
    inputs = np.concatenate([*rows, encoded.floats[0]])
    return logit_by_definition("DIN", dense, tables["user"][user], tables["item"][item], [], inputs)


@pytest.mark.parametrize(
    "context",
    [
        pytest.param(GIVEN, id="a context with rows"),
        pytest.param(OTHER, id="another"),
        pytest.param({}, id="none"),
        pytest.param({"country": "nowhere"}, id="one that was never trained"),
    ],
)
def test_scores_in_a_context_agree_with_the_definition(publisher, context):
    found = load(publisher).logits(3, ITEMS, np.empty(0, np.int64), ScratchPad(), context)
    wanted = [by_definition(publisher, 3, item, context) for item in ITEMS.tolist()]
    np.testing.assert_allclose(found, wanted, atol=2e-5, rtol=1e-5)


def test_a_model_of_plain_numbers_needs_no_table():
    made = make_publisher(make_features({"name": "price", "normalise": {"min": 0, "max": 9}}))
    version = load(made)
    assert set(version.tables) == {"user", "item", "history"}
    low, high = (
        version.logits(3, ITEMS, np.empty(0, np.int64), ScratchPad(), {"price": price})
        for price in (1, 8)
    )
    assert (low != high).all()


def test_a_context_does_not_stay_for_the_next_request(publisher):
    version, pad = load(publisher), ScratchPad()
    before = version.logits(3, ITEMS, ITEMS[:2], pad)
    assert (version.logits(3, ITEMS, ITEMS[:2], pad, GIVEN) != before).all()
    np.testing.assert_array_equal(version.logits(3, ITEMS, ITEMS[:2], pad), before)


def test_a_query_is_answered_in_its_context(publisher):
    version = load(publisher)
    query = Query(3, tuple(ITEMS.tolist()), k=None, context=read_context(GIVEN))
    got = answer(query, [version], VersionedHistory(), 10, ScratchPad())
    logits = version.logits(3, np.array(got.ids), version.history_of(3), ScratchPad(), GIVEN)
    np.testing.assert_allclose(got.best.scores, 1 / (1 + np.exp(-logits.astype(np.float64))))
    assert got.asked.context == GIVEN
    assert got.ignored == ()


def test_what_no_feature_reads_is_told(publisher):
    """Neither a value that a model does not read yet nor the name of a cross is an error."""
    query = Query(3, (1000,), context={"hourr": 7, "device": "web", "device_hour": 1})
    got = answer(query, [load(publisher)], VersionedHistory(), 10, ScratchPad())
    assert got.ignored == ("device_hour", "hourr")


def test_the_shadow_compares_in_the_context_of_each_request(publisher):
    """R30: a base with other features makes of the same context what its own say."""
    plain = make_publisher(())
    new, old = load(publisher), load(plain)
    query = Asked(3, ITEMS, ITEMS[:1], GIVEN)
    shadow = compare(new, old, [query], lambda: None)
    logits = new.logits(3, ITEMS, ITEMS[:1], ScratchPad(), GIVEN).astype(np.float64)
    theirs = old.logits(3, ITEMS, ITEMS[:1], ScratchPad()).astype(np.float64)
    assert shadow.correlation == pytest.approx(np.corrcoef(logits, theirs)[0, 1])


def test_deltas_keep_the_features_of_their_base(publisher):
    base = publisher.latest.ref()
    key = int(COMPILED.encode([GIVEN]).keys[0, 0])
    row = np.full(4, 2, np.float32)
    delta = publisher.publish({"context": {key: row}}, dense=random_dense(publisher.architecture))
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        for ref in (base, delta):
            shelf.load(ref, lambda _: True, lambda _: None)
    first, second = (shelf.held[ref.digest] for ref in (base, delta))
    assert second.features is first.features
    before, after = (
        version.logits(3, ITEMS, np.empty(0, np.int64), ScratchPad(), GIVEN)
        for version in (first, second)
    )
    assert (before != after).all()


def refused(publisher):
    """Why the newest version is."""
    with pytest.raises(Refused) as found:
        load(publisher)
    return found.value


def test_a_delta_with_other_features_is_refused(publisher):
    """R30: it needs a new base."""
    publisher.features = FEATURES[1:]
    publisher.publish()
    found = refused(publisher)
    assert found.reason == "TransformMismatch"
    assert "publish a base" in str(found)


def test_features_that_the_architecture_has_no_inputs_for_are_refused(publisher):
    publisher.features = FEATURES[:-1]
    publisher.publish(base=True)
    found = refused(publisher)
    assert found.reason == "TransformMismatch"
    assert "gives 6 rows and 3 floats of a context, its architecture reads 7 and 3" in str(found)


@pytest.mark.parametrize(
    ("feature", "says"),
    [
        pytest.param(b'{"name":"a","hash":{"buckets":0}}', "buckets", id="no buckets"),
        pytest.param(b'{"name":"a","hash":{"buckets":9,"salt":1}}', "salt", id="a salted hash"),
        pytest.param(b'{"name":"a","embedding":{"dim":9}}', "embedding", id="a kind of next year"),
        pytest.param(b'{"name":"a"}', "exactly one kind", id="no kind"),
        pytest.param(
            b'{"name":"a","bucket":{"boundaries":[2,1]}}', "rise", id="boundaries that fall"
        ),
        pytest.param(
            b'{"name":"a","normalise":{"mean":0,"std":0}}', "std above 0", id="a std of nought"
        ),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(publisher, feature, says):
    """R30: whoever wrote it."""
    document = b'{"history_length":5,"features":[%s]}' % feature
    digest = publisher.store.put_transform(document)
    publisher.publish(base=True, change=lambda m: m.changed(transform=digest))
    found = refused(publisher)
    assert found.reason == "TransformMismatch"
    assert says in str(found)


def test_rows_of_another_width_are_refused(publisher):
    wide = publisher.architecture.context.changed(dim=8)
    lie = publisher.architecture.changed(context=wide)
    publisher.publish(
        base=True, dense=random_dense(lie), change=lambda m: m.changed(architecture=lie)
    )
    assert refused(publisher).reason == "ColumnsMismatch"


def test_an_architecture_without_features_says_nothing_of_them():
    """Manifests of before there were features keep their bytes, and so their digests."""
    plain = make_architecture()
    assert b"context" not in plain.canonical()
    assert shapes_of(plain)["head.0.weight"] == (16, 24)
    assert Transform(history_length=5).features == ()
