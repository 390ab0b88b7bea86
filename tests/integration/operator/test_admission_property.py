"""What the API server lets in, the operator can read and render: no object falls in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream_api import crd
from millstream_api.recserving import RecServingSpec
from millstream_api.rectraining import RecTrainingSpec
from millstream_core.features import ContextFeatures
from millstream_operator.decide.training import wanted_workers
from millstream_operator.render.metadata import Parent
from millstream_operator.render.serving import render_serving
from millstream_operator.render.training import render_training
from tests.builders.kube import Refused
from tests.builders.resources import serving_document, training_document

if TYPE_CHECKING:
    from tests.builders.kube import Kube

pytestmark = pytest.mark.integration

TEXTS = st.sampled_from(
    [
        "",
        "a",
        "shop",
        "a/b",
        "..",
        "http://s3:9000",
        "https://s3/x",
        "5",
        "1.5Gi",
        "2m",
        "-1",
        "ü",
        "DIN",
        "LatestWins",
        "Exists",
        "models",
        "NoSchedule",
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05",
        "2026-02-30T00:00:00Z",
        "1970-01-01T00:00:00+14:00",
        "a-name-that-is-a-good-deal-longer-than-a-name-should-ever-be-for-us",
    ]
)


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Mostly what a schema node allows, sometimes just outside."""
    if "enum" in schema:
        return st.sampled_from([*schema["enum"], "other"])
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = set(schema.get("required", ()))
            known = {name: values(child) for name, child in schema["properties"].items()}
            return st.fixed_dictionaries(
                {name: known[name] for name in required},
                optional={name: known[name] for name in known if name not in required},
            )
        case "object":
            return st.dictionaries(
                st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "disk"]),
                values(schema["additionalProperties"]),
                max_size=3,
            )
        case "array":
            return st.lists(values(schema["items"]), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer" | "number":
            low, high = schema.get("minimum", -1), schema.get("maximum", 10_000)
            edges = [low, high, low + 1, high + 1, low - 1, 4, 64, 0]
            if schema["type"] == "number":
                edges += [low + 0.5, 0.1]
            return st.sampled_from(edges)
        case "string":
            return TEXTS
    return st.one_of(TEXTS, st.integers(-1, 5))  # an int-or-string


SPECS = {
    name: crd.definitions()[name]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][
        "spec"
    ]
    for name in ("rectrainings.yaml", "recservings.yaml")
}
EASY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def admitted(kube: Kube, document: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any] | None:
    """The spec with its defaults as the API server would store it; None where it refuses."""
    # A store and a source that hold, where chance made none: else next to nothing is let in.
    known = {**document["spec"], **spec}
    try:
        found = kube.apply({**document, "spec": known}, dryRun="All")
    except Refused as refused:
        # Server-side apply has no better status for a set that names something twice.
        if refused.status not in {400, 422} and "duplicate entries" not in str(refused):
            raise
        return None
    stored: dict[str, Any] = found["spec"]
    return stored


@given(data=st.data())
@EASY
def test_trainings(kube: Kube, data: st.DataObject):
    part = data.draw(st.sampled_from(sorted(SPECS["rectrainings.yaml"]["properties"])))
    drawn = data.draw(values(SPECS["rectrainings.yaml"]["properties"][part]))
    stored = admitted(kube, training_document(), {part: drawn})
    if stored is None:
        return
    spec = RecTrainingSpec.model_validate(stored)
    parent = Parent("RecTraining", "ns", "shop", "u")
    workers = wanted_workers(spec)
    assert workers in {0, 1}
    ContextFeatures(spec.model.features)  # what no rule forbids makes sense
    assert render_training(parent, spec, created=1.0, image="i", workers=workers)


@given(data=st.data())
@EASY
def test_servings(kube: Kube, data: st.DataObject):
    part = data.draw(st.sampled_from(sorted(SPECS["recservings.yaml"]["properties"])))
    drawn = data.draw(values(SPECS["recservings.yaml"]["properties"][part]))
    stored = admitted(kube, serving_document(), {part: drawn})
    if stored is None:
        return
    spec = RecServingSpec.model_validate(stored)
    assert render_serving(Parent("RecServing", "ns", "shop", "u"), spec, image="i")
