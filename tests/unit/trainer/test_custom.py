"""A module of the user's own: taken as it is, exported once, and refused where it breaks rules."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from millstream_trainer.design import Design
from millstream_trainer.models.architectures import network_of
from millstream_trainer.models.custom import INPUTS, Unusable, export
from millstream_trainer.models.networks import Inputs
from tests.builders.objects import MemoryObjects
from tests.builders.trainer import START, Run, VirtualClock, make_settings, manifests, store_of

MODULE = "tests.builders.ranker:Ranker"
SETTINGS = make_settings(architecture="Custom", custom_module=MODULE)


def make_inputs(padding: float) -> Inputs:
    rows = torch.from_numpy(np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32))
    items = torch.cat([rows, torch.full((1, 8), padding)])
    history = torch.tensor([[5, 5, 5, 5, 5], [5, 5, 1, 2, 3]])
    return Inputs(rows, items, torch.tensor([0, 1]), torch.tensor([2, 3]), history, history != 5)


def test_a_graph_has_no_weights_and_the_same_bytes_again() -> None:
    first = export(MODULE, 8, 5, 3)
    export.cache_clear()
    torch.manual_seed(99)
    assert export(MODULE, 8, 5, 3) == first
    model = onnx.load_model_from_string(first)
    names = {each.name for each in model.graph.input}
    architecture = Design.of(SETTINGS).architecture
    weights = network_of(architecture, 1).tensors()
    # Whole numbers are no weights, and stay in the graph.
    assert names == {*INPUTS, *weights} - {
        "custom.steps", "custom.norm.num_batches_tracked",
    }  # fmt: skip
    assert max(np.prod(each.dims) for each in model.graph.initializer) < 16
    assert b"/" not in b"".join(node.SerializeToString() for node in model.graph.node)


def test_weights_depend_on_the_seed_alone_and_leave_other_draws_alone() -> None:
    architecture = Design.of(SETTINGS).architecture
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = network_of(architecture, 5).tensors()
    assert torch.equal(torch.rand(1), expected)
    second, other = (network_of(architecture, seed).tensors() for seed in (5, 6))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert any(not np.array_equal(first[name], other[name]) for name in first)


def test_training_scores_as_is_served() -> None:
    """No dropout, fixed statistics; padding is zeros whatever row it reads."""
    network = network_of(Design.of(SETTINGS).architecture, 1)
    first = network(make_inputs(0.0))
    torch.testing.assert_close(network(make_inputs(7.0)), first, rtol=0, atol=0)
    assert first.shape == (2, 1)


def test_another_module_is_another_lineage_by_its_graph() -> None:
    one = Design.of(SETTINGS)
    assert one.lineage() == Design.of(SETTINGS).lineage()
    longer = Design.of(SETTINGS.changed(history_length=6))
    assert one.architecture.graph != longer.architecture.graph
    assert len({one.lineage(), longer.lineage(), Design.of(make_settings()).lineage()}) == 3


@pytest.mark.parametrize(
    ("module", "said"),
    [
        pytest.param("nowhere.at_all:Ranker", "is not in this image", id="no such file"),
        pytest.param("tests.builders.ranker:Nobody", "is not in this image", id="no such class"),
        pytest.param(
            "tests.builders.ranker:not_a_module", "is no torch.nn.Module", id="a function"
        ),
        pytest.param("torch.nn:Linear", "Linear(embedding_dim=8", id="other arguments"),
        pytest.param("tests.builders.ranker:Raising", "no weights today", id="one that raises"),
        pytest.param(
            "tests.builders.ranker:Flat", "of 1 user and 3 items it is torch.float32[3]", id="flat"
        ),
        pytest.param("tests.builders.ranker:Branching", "cannot be exported", id="data decides"),
    ],
)
def test_a_module_that_cannot_be_used_says_why(module: str, said: str) -> None:
    with pytest.raises(Unusable) as found:
        Design.of(SETTINGS.changed(custom_module=module))
    assert said in str(found.value)
    assert module in str(found.value)


def test_an_architecture_without_its_module_says_what_to_set() -> None:
    with pytest.raises(ValueError, match="needs a module: set custom_module"):
        Design.of(SETTINGS.changed(custom_module=None))


def test_a_base_brings_the_graph_and_its_deltas_name_it() -> None:
    objects = MemoryObjects()
    Run(objects, SETTINGS, clock=VirtualClock(seconds=16)).run()
    again = Run(objects, SETTINGS, clock=VirtualClock(START + 16, seconds=3)).run()
    found = manifests(again.objects, SETTINGS)
    graph = Design.of(SETTINGS).graph
    bases = {number for number, each in found.items() if each.kind == "base"}
    assert len(found) > len(bases) > 1
    store = store_of(again.objects, SETTINGS)
    for number, manifest in found.items():
        assert manifest.graph is not None
        base = manifest.chain.base_version
        assert manifest.graph == found[base].graph
        assert store.get_data(manifest.lineage, manifest.graph) == graph
        assert (manifest.graph.path.split("/")[1].split("-")[0] == str(number)) == (number in bases)
