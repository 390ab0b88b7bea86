"""Every manifest that the operator renders, as a file to be read and reviewed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from millstream_api.release import Release
from millstream_operator.render.maintenance import render_maintenance
from millstream_operator.render.metadata import Parent
from millstream_operator.render.serving import render_release, render_serving
from millstream_operator.render.training import render_training
from tests.builders.golden import same_as
from tests.builders.resources import make_ref, make_serving_spec, make_training_spec

HERE = Path(__file__).parent
CREATED = 1_800_000_000.0

EVERYTHING: dict[str, Any] = {
    "image": "registry.example/own:7",
    "resources": {
        "requests": {"cpu": "2", "memory": "4Gi"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": 1},
    },
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "tracing": {"endpoint": "http://collector.observability:4318"},
}
TRAININGS: dict[str, dict[str, Any]] = {
    "the least of a training": {},
    "a suspended training": {"suspend": True},
    "a training with everything": EVERYTHING
    | {
        "source": {"movielens": {"speed": 1000, "startTime": "2026-02-03T04:05:06Z"}},
        "model": {
            "name": "movies",
            "tasks": ["Click", "Conversion"],
            "embeddingDim": 32,
            "historyLength": 10,
            "seed": 3,
        },
        "tables": {
            "user": {"multiHash": {"tables": 3, "rows": 100_000, "seed": 1}},
            "item": {"memory": {"budget": "512Mi", "overflow": "20Gi"}},
            "history": {"memory": {"budget": "1Gi", "overflow": "4Gi"}},
        },
        "batchSize": 512,
        "optimizer": {"sparseLearningRate": 0.1, "denseLearningRate": 0.01},
        "publish": {"intervalSeconds": 15, "maxEvents": 100_000, "baseEvery": 5},
        "maintenance": {
            "schedule": "7 * * * *",
            "keepVersions": 30,
            "graceSeconds": 86400,
            "suspend": True,
            "resources": {"limits": {"memory": "4Gi"}},
        },
        "store": {
            "endpoint": "https://s3.example:9000",
            "region": "eu-west-1",
            "bucket": "models",
            "prefix": "teams/movies",
            "credentialsSecretRef": {"name": "own-keys"},
        },
    },
}
SERVINGS: dict[str, dict[str, Any]] = {
    "the least of a serving": {},
    "a serving of one": {"replicas": 1},
    "a serving with everything": EVERYTHING
    | {
        "replicas": 4,
        "requestLog": {"sampleRatio": 0.1, "perSecond": 5},
        "rollout": {"delta": {"shadowRequests": 50}, "base": {"shadowRequests": 300}},
    },
}


def as_text(bodies: list[dict[str, Any]]) -> str:
    return yaml.safe_dump_all(bodies, sort_keys=False, width=100)


def file_of(name: str) -> Path:
    return HERE / f"{name.replace(' ', '-')}.yaml"


@pytest.mark.parametrize(("name", "spec"), TRAININGS.items(), ids=TRAININGS)
def test_trainings(name: str, spec: dict[str, Any]):
    parent = Parent("RecTraining", "shop-ns", "shop", "uid-1")
    bodies = render_training(
        parent,
        make_training_spec(**spec),
        created=CREATED,
        image="trainer:1",
        workers=0 if spec.get("suspend") else 1,
    )
    bodies.append(render_maintenance(parent, make_training_spec(**spec), image="server:1"))
    assert same_as(file_of(name), as_text(bodies))


@pytest.mark.parametrize(("name", "spec"), SERVINGS.items(), ids=SERVINGS)
def test_servings(name: str, spec: dict[str, Any]):
    parent = Parent("RecServing", "shop-ns", "shop", "uid-1")
    bodies = render_serving(parent, make_serving_spec(**spec), image="server:1")
    assert same_as(file_of(name), as_text(bodies))


def test_a_release():
    release = Release(
        epoch=7,
        salt="uid-1:3:7",
        stable=make_ref(2),
        candidate=make_ref(3),
        advanced=4,
        hold=(make_ref(1),),
        quarantined=(make_ref(0).digest,),
        mode="Gray",
    )
    body = render_release(Parent("RecServing", "shop-ns", "shop", "uid-1"), release)
    assert same_as(file_of("a release"), as_text([body]))
