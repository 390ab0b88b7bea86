"""Models that are computed by a graph: what they score, and which graphs never get that far."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import TensorProto, helper

from millstream_api.manifest import ContextInputs
from millstream_serving.engine import trials
from millstream_serving.engine.architectures import network_of
from millstream_serving.engine.graphs import BLOCK
from millstream_serving.engine.layouts import MisshapenWeights
from millstream_serving.engine.trials import UnfitGraph
from millstream_serving.engine.versions import ScratchPad
from millstream_serving.loading.checks import Refused
from millstream_serving.loading.shelf import Shelf
from tests.builders.graphs import computed_by, make_graph, make_model, node
from tests.builders.objects import MemoryObjects
from tests.builders.scoring import logits_of, make_request
from tests.builders.serving import Publisher, random_rows

GRAPH = make_graph()
ROWS = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
DENSE = {"custom.w": np.linspace(-1, 1, 8, dtype=np.float32)}


def network_by(graph, **changes):
    return network_of(computed_by(graph, **changes), DENSE, graph)


def by_definition(user, items, history, context=0.0):
    vector = (ROWS[user] + ROWS[history].sum(axis=0)) * DENSE["custom.w"]
    return ROWS[items] @ vector + context


@pytest.mark.parametrize(
    ("items", "history"),
    [
        pytest.param(1, 5, id="one candidate with a full history"),
        pytest.param(BLOCK + 1, 2, id="one candidate beyond a block"),
        pytest.param(3, 0, id="a user without a history"),
    ],
)
def test_scores_are_those_of_the_graph(items, history):
    rng = np.random.default_rng(2)
    asked, seen = rng.integers(0, 200, items), rng.integers(0, 200, history)
    found = logits_of(network_by(GRAPH), make_request(ROWS, 11, asked, seen))
    np.testing.assert_allclose(found, by_definition(11, asked, seen), rtol=1e-4, atol=1e-5)


def test_a_history_lies_at_the_end_of_its_places_and_the_rest_is_zeros():
    """Also where an earlier request has left more there."""
    mask = [
        node("Cast", ["is_history"], "as_floats", to=TensorProto.FLOAT),
        node("Gather", ["history", "first"], "place", axis=1),  # the second of five
        node("ReduceSum", ["as_floats", "first"], "count", keepdims=1),
        node("ReduceSum", ["place", "second"], "at_place", keepdims=0),
        node("Add", ["at_place", "count"], "told"),
        node("Mul", ["sum", "zero"], "none"),
        node("Add", ["none", "told"], "all"),
    ]
    model = make_model(*mask, logits="all")
    model.graph.initializer.append(helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]))
    graph, pad = model.SerializeToString(), ScratchPad()

    def told(history: list[int]) -> float:
        return float(logits_of(network_by(graph), make_request(ROWS, 0, [1], history), pad)[0])

    assert told([1, 2, 3, 4, 5]) == pytest.approx(5 + ROWS[2].sum(), abs=1e-5)
    assert told([7, 8, 9]) == 3
    assert told([]) == 0


def test_a_context_reaches_the_graph():
    graph = make_graph(context=7)
    network = network_by(graph, context=ContextInputs(rows=1, dim=4, floats=3))
    found = logits_of(network, make_request(ROWS, 1, [2, 3], [4], np.arange(7)))
    np.testing.assert_allclose(found, by_definition(1, [2, 3], [4], 21), rtol=1e-4)


def test_threads_share_a_session():
    network, request = network_by(GRAPH), make_request(ROWS, 1, range(100), [4])
    wanted = logits_of(network, request)
    found = []

    def ask() -> None:
        for _ in range(50):
            found.append(logits_of(network, request))  # noqa: PERF401 - each in its turn

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 100
    assert all(np.array_equal(each, wanted) for each in found)


def test_a_graph_that_fails_on_a_request_scores_nothing_and_is_named_once(caplog):
    """Then the version that users had answers, as for any score that is not a number."""
    reaching = [
        node("ReduceSum", ["user"], "total", keepdims=0),
        node("Mul", ["total", "thousandth"], "little"),
        node("Cast", ["little"], "place", to=TensorProto.INT64),
        node("Gather", ["first", "place"], "found"),  # of one value
        node("Cast", ["found"], "as_float", to=TensorProto.FLOAT),
        node("Mul", ["as_float", "sum"], "all"),
    ]
    model = make_model(*reaching, logits="all")
    thousandth = helper.make_tensor("thousandth", TensorProto.FLOAT, [], [0.001])
    model.graph.initializer.append(thousandth)
    graph, rows = model.SerializeToString(), np.zeros((3, 8), np.float32)
    rows[1] = 1000
    network = network_by(graph)
    assert np.isfinite(logits_of(network, make_request(rows, 0, [1, 2], []))).all()
    assert not caplog.records
    for _ in range(2):
        assert np.isnan(logits_of(network, make_request(rows, 1, [1, 2], []))).all()
    [said] = caplog.records
    assert "a Custom graph failed" in said.message
    assert said.exc_info is not None


def changed(change):
    model = make_model()
    change(model)
    return model.SerializeToString()


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def hidden_external(model):
    """In an attribute, where weights are not looked for."""
    tensor = helper.make_tensor("secret", TensorProto.FLOAT, [1], [0.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=tensor))


def branching(model):
    inner = helper.make_graph([], "inner", [], [])
    chosen = helper.make_node("If", ["yes"], ["x"], then_branch=inner, else_branch=inner)
    model.graph.node.insert(0, chosen)


def foreign(model):
    model.graph.node.insert(0, helper.make_node("FusedGemm", ["a"], ["b"], domain="com.microsoft"))


def another_domain(model):
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def functions(model):
    model.functions.add().name = "inner"


def without_users(model):
    model.graph.input[0].name = "someone"


def huge(model):
    """2 GiB, known before the first request."""
    nodes = model.graph.node
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1, 1 << 29])
    model.graph.initializer.append(shape)
    nodes.insert(0, node("ConstantOfShape", ["shape"], "much"))
    nodes.insert(1, node("ReduceSum", ["much"], "little", keepdims=0))
    nodes[-1].input[0] = "logit"
    nodes.insert(len(nodes) - 1, node("Add", ["sum", "little"], "logit"))


def many(model):
    for number in range(trials.MOST_NODES):
        model.graph.node.insert(0, node("Identity", ["user"], f"u{number}"))


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        pytest.param(GRAPH[:-40], "", id="cut"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"not a graph at all", "", id="some text"),
        pytest.param(bytes(range(256)) * 8, "", id="bytes"),
        pytest.param(changed(external), "'first' is to be read from a file", id="a file"),
        pytest.param(changed(hidden_external), "'secret' is to be read", id="a hidden file"),
        pytest.param(changed(branching), "If has a graph of its own", id="a branch"),
        pytest.param(changed(foreign), "not of: , com.microsoft", id="another's operator"),
        pytest.param(changed(another_domain), "not of: , com.example", id="another domain"),
        pytest.param(changed(functions), "not of: functions", id="functions"),
        pytest.param(changed(without_users), "its inputs must be user, items", id="no user"),
        pytest.param(changed(many), "10000 are the most", id="too many operators"),
        pytest.param(changed(huge), "alloc", id="twice the memory"),
        pytest.param(make_graph(logits="vector"), "it must make float32", id="too few logits"),
        pytest.param(make_graph(node("Nonsense", ["sum"], "x")), "Nonsense", id="no operator"),
        pytest.param(make_graph(width=4), "", id="of another width"),
        pytest.param(make_graph(length=6), "", id="of another history"),
    ],
)
def test_an_unfit_graph_is_refused_by_a_process_of_its_own(graph, said):
    with pytest.raises(UnfitGraph, match="a trial run of its graph ended with") as found:
        network_by(graph)
    assert said in str(found.value)
    assert len(str(found.value)) < 600
    assert "Traceback" not in str(found.value)


def test_a_trial_that_takes_too_long_is_over(monkeypatch):
    monkeypatch.setattr(trials, "SECONDS", 0.01)
    graph = make_graph(node("Identity", ["user"], "slow"))
    with pytest.raises(UnfitGraph, match=r"took longer than 0\.01 s"):
        network_by(graph)


def test_a_graph_is_tried_once(monkeypatch):
    graph = make_graph(node("Identity", ["user"], "again"))
    network_by(graph)
    monkeypatch.setattr(subprocess, "run", None)
    network_by(graph)


@pytest.mark.parametrize(
    ("dense", "said"),
    [
        pytest.param({}, "is missing", id="missing"),
        pytest.param({"custom.w": np.zeros(9, np.float32)}, r"is float32\[9\]", id="misshapen"),
        pytest.param({"custom.w": np.zeros(8)}, "is float64", id="of another type"),
    ],
)
def test_weights_that_the_graph_does_not_read_are_refused_by_name(dense, said):
    with pytest.raises(MisshapenWeights, match=rf"custom\.w must be float32\[8\] and {said}"):
        network_of(computed_by(GRAPH), dense, GRAPH)


@pytest.fixture
def publisher():
    return Publisher(MemoryObjects(), architecture=computed_by(GRAPH), graph=GRAPH)


def load(publisher, *refs):
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        for ref in refs:
            shelf.load(ref, lambda _: True, lambda _: None)
    return shelf


def test_a_delta_brings_weights_and_no_graph(publisher):
    base = publisher.publish(random_rows(publisher, 3, 5), dense=DENSE)
    with ThreadPoolExecutor(2) as pool:
        shelf = Shelf(publisher.store, pool)
        shelf.load(base, lambda _: True, lambda _: None)
        delta = publisher.publish(dense={"custom.w": 2 * DENSE["custom.w"]})
        for key in [key for key in publisher.objects.objects if key.endswith("graph.onnx")]:
            publisher.objects.delete(key)
        shelf.load(delta, lambda _: True, lambda _: None)
    items = np.arange(1000, 1005)
    before, after = (
        shelf.held[ref.digest].logits(1, items, items[:2], ScratchPad()) for ref in (base, delta)
    )
    np.testing.assert_allclose(after, 2 * before, rtol=1e-4)


@pytest.mark.parametrize(
    ("graph", "change", "reason", "said"),
    [
        pytest.param(
            b"junk", lambda m: m, "Malformed", "a trial run of its graph", id="no graph at all"
        ),
        pytest.param(
            GRAPH,
            lambda m: m.changed(graph=None),
            "Malformed",
            "it brings None",
            id="no graph where one is needed",
        ),
        pytest.param(
            GRAPH,
            lambda m: m.changed(graph=m.graph.changed(sha256="0" * 64)),
            "Malformed",
            "it brings 000",
            id="another graph than the architecture's",
        ),
        pytest.param(
            GRAPH,
            lambda m: m.changed(graph=m.graph.changed(bytes=5 << 20)),
            "Oversized",
            "4194304 are the most",
            id="a large graph",
        ),
        pytest.param(
            GRAPH,
            lambda m: m.changed(architecture=m.architecture.changed(graph=None)),
            "ArchitectureUnknown",
            "names its graph and no layers",
            id="an architecture without its graph",
        ),
        pytest.param(
            GRAPH,
            lambda m: m.changed(architecture=m.architecture.changed(head=(4, 4))),
            "ArchitectureUnknown",
            "names its graph and no layers",
            id="an architecture with layers",
        ),
    ],
)
def test_a_version_with_an_unfit_graph_is_refused(graph, change, reason, said):
    made = Publisher(MemoryObjects(), architecture=computed_by(graph), graph=graph)
    ref = made.publish(random_rows(made, 3, 3), dense=DENSE, change=change)
    with pytest.raises(Refused) as found:
        load(made, ref)
    assert found.value.reason == reason
    assert said in str(found.value)


def test_a_graph_beside_another_architecture_is_refused():
    made = Publisher(MemoryObjects(), graph=GRAPH)
    with pytest.raises(Refused, match="is computed by graph None, it brings"):
        load(made, made.publish(random_rows(made, 3, 3)))


def test_an_altered_graph_is_refused(publisher):
    base = publisher.publish(random_rows(publisher, 3, 3), dense=DENSE)
    publisher.objects.damage("data/0-1/serve/graph.onnx", lambda data: data[:-1] + b"x")
    with pytest.raises(Refused) as found:
        load(publisher, base)
    assert found.value.reason == "DigestMismatch"


def test_a_delta_with_another_graph_is_refused(publisher):
    base = publisher.publish(random_rows(publisher, 3, 3), dense=DENSE)
    publisher.graph = make_graph(node("Identity", ["user"], "other"))
    publisher.architecture = computed_by(publisher.graph)
    delta = publisher.publish(dense=DENSE)
    with pytest.raises(Refused) as found:
        load(publisher, base, delta)
    assert found.value.reason == "ArchitectureMismatch"


def test_nothing_of_onnx_is_imported_before_the_first_graph():
    script = """
import sys
from millstream_serving.engine.warmup import warm_up
import millstream_serving.main
warm_up()
assert not {"onnx", "onnxruntime"} & sys.modules.keys()
"""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
