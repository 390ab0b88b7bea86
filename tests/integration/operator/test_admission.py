"""What the API server refuses, and in which words; each rule by a case that only it refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.builders.features import DOCUMENTS
from tests.builders.kube import Refused, eventually
from tests.builders.resources import serving_document, training_document

if TYPE_CHECKING:
    from tests.builders.kube import Body, Kube

pytestmark = pytest.mark.integration
EXAMPLES = Path(__file__).parents[3] / "examples"

TWICE = {"threshold": 2}
SECRET = {"name": "s3-credentials"}


def store(**fields: Any) -> dict[str, Any]:
    known = {"bucket": "models", "credentialsSecretRef": SECRET} | fields
    return {"store": {key: value for key, value in known.items() if value is not None}}


def delta(**fields: Any) -> dict[str, Any]:
    return {"rollout": {"delta": fields}}


def traces(**fields: Any) -> dict[str, Any]:
    return {"tracing": {"endpoint": "http://collector.observability:4318"} | fields}


def features(*listed: dict[str, Any]) -> dict[str, Any]:
    return {"model": {"features": list(listed)}}


DEVICE = {"name": "device", "vocabulary": {"values": ["phone", "web"]}}
PRICE = {"name": "price", "normalise": {"mean": 20, "std": 5}}


def cross(*parts: str) -> dict[str, Any]:
    return {"name": "both", "cross": {"of": list(parts), "buckets": 100}}


TRAINING: dict[str, tuple[dict[str, Any], str]] = {
    "both replicas and elasticPolicy": (
        {"replicas": 1, "elasticPolicy": {"maxReplicas": 2}},
        "write either replicas or elasticPolicy, not both",
    ),
    "min above max": (
        {"elasticPolicy": {"minReplicas": 1, "maxReplicas": 0}},
        "elasticPolicy.maxReplicas",
    ),
    "more than one worker": (
        {"replicas": 2},
        "more than one worker is not available in this version: write replicas: 1",
    ),
    "no worker": ({"replicas": 0}, "write replicas: 1, or suspend: true to stop training"),
    "a minimum of two workers": (
        {"elasticPolicy": {"minReplicas": 2, "maxReplicas": 4}},
        "more than one worker is not available in this version: write minReplicas: 1",
    ),
    "an unknown architecture": (
        {"model": {"architecture": "Transformer"}},
        'Unsupported value: "Transformer": supported values: "',
    ),
    "an architecture of one's own without its module": (
        {"model": {"architecture": "Custom"}},
        "architecture: Custom and custom: {module: package.file:Class} go together",
    ),
    "a module without the architecture": (
        {"model": {"custom": {"module": "shop.ranking:Ranker"}}},
        "architecture: Custom and custom: {module: package.file:Class} go together",
    ),
    "a module without its class": (
        {"model": {"architecture": "Custom", "custom": {"module": "shop.ranking"}}},
        "write package.file:Class, for example module: shop.ranking:Ranker",
    ),
    "conversions alone": (
        {"model": {"tasks": ["Conversion"]}},
        "write tasks: [Click], or tasks: [Click, Conversion] to rank by the chance of both",
    ),
    "clicks twice": ({"model": {"tasks": ["Click", "Click"]}}, "write tasks: [Click], or tasks:"),
    "no task": ({"model": {"tasks": []}}, "write tasks: [Click], or tasks:"),
    "an unknown task": ({"model": {"tasks": ["Click", "Like"]}}, 'Unsupported value: "Like"'),
    "conversions of two towers": (
        {"model": {"architecture": "DotProduct", "tasks": ["Click", "Conversion"]}},
        "only architectures DIN and MLP learn conversions: write one of them, or tasks: [Click]",
    ),
    "conversions of a module of one's own": (
        {
            "model": {
                "architecture": "Custom",
                "custom": {"module": "shop.ranking:Ranker"},
                "tasks": ["Click", "Conversion"],
            }
        },
        "only architectures DIN and MLP learn conversions: write one of them, or tasks: [Click]",
    ),
    "an odd embedding": ({"model": {"embeddingDim": 18}}, "multiple of 4"),
    "a huge embedding": ({"model": {"embeddingDim": 1024}}, "less than or equal to 512"),
    "multiHash with admission": (
        {"tables": {"user": {"multiHash": {"rows": 4096}, "admission": {"counter": TWICE}}}},
        "leave out admission and eviction, or multiHash",
    ),
    "multiHash with eviction": (
        {"tables": {"item": {"multiHash": {"rows": 4096}, "eviction": {"ttl": {"seconds": 9}}}}},
        "leave out admission and eviction, or multiHash",
    ),
    "multiHash of four tables": (
        {"tables": {"item": {"multiHash": {"rows": 4096, "tables": 4}}}},
        "less than or equal to 3",
    ),
    "a memory budget without a unit": (
        {"tables": {"item": {"memory": {"budget": "1000000", "overflow": "1Gi"}}}},
        "tables.item.memory.budget",
    ),
    "a model name with a slash": (
        {"model": {"name": "a/b"}},
        "a model's name consists of letters, digits, dots, underscores and dashes",
    ),
    "two features of one name": (
        features(DEVICE, PRICE | {"name": "device"}),
        "two features have the same name: give each its own",
    ),
    "a feature without a kind": (
        features({"name": "device"}),
        "name exactly one kind, for example hash: {buckets: 1000}",
    ),
    "a feature of two kinds": (features(DEVICE | PRICE), "name exactly one kind"),
    "a feature with a dash": (features(PRICE | {"name": "list-price"}), "should match"),
    "a vocabulary of nothing": (
        features({"name": "device", "vocabulary": {"values": []}}),
        "list at least one value, or use hash",
    ),
    "a word twice": (
        features({"name": "device", "vocabulary": {"values": ["web", "web"]}}),
        'duplicate entries for key [="web"]',
    ),
    "a missing value that is not listed": (
        features({"name": "device", "vocabulary": {"values": ["web"], "missing": "phone"}}),
        "missing is one of the values: add it to values",
    ),
    "no boundaries": (
        features({"name": "hour", "bucket": {"boundaries": []}}),
        "list at least one boundary",
    ),
    "boundaries that fall": (
        features({"name": "hour", "bucket": {"boundaries": [12, 6.5]}}),
        "boundaries rise: write the smallest first",
    ),
    "a boundary twice": (
        features({"name": "hour", "bucket": {"boundaries": [6, 6]}}),
        "duplicate entries",
    ),
    "half a scale": (
        features({"name": "price", "normalise": {"mean": 20}}),
        "write either mean and std or min and max",
    ),
    "two scales": (
        features({"name": "price", "normalise": {"mean": 20, "std": 5, "min": 0, "max": 1}}),
        "write either mean and std or min and max",
    ),
    "a std of nought": (
        features({"name": "price", "normalise": {"mean": 20, "std": 0}}),
        "std is above 0",
    ),
    "a scale without extent": (
        features({"name": "price", "normalise": {"min": 5, "max": 5}}),
        "min is below max",
    ),
    "a cross of one": (features(DEVICE, cross("device")), "at least 2 items"),
    "a cross of what is not there": (
        features(DEVICE, cross("device", "hour")),
        "a cross names a feature that is not there",
    ),
    "a cross of a number": (
        features(DEVICE, PRICE, cross("device", "price")),
        "instead of normalise, use bucket",
    ),
    "a cross of a cross": (
        features(
            DEVICE,
            DEVICE | {"name": "screen"},
            cross("device", "screen"),
            cross("device", "both") | {"name": "more"},
        ),
        "instead of a cross, name its parts",
    ),
    "no source": ({"source": {}}, "name exactly one source, for example source: {synthetic: {}}"),
    "two sources": (
        {"source": {"synthetic": {}, "movielens": {}}},
        "name exactly one source, for example source: {synthetic: {}}",
    ),
    "a source that stands still": (
        {"source": {"synthetic": {"eventsPerSecond": 0}}},
        "should be greater than 0",
    ),
    "a start that is no time": (
        {"source": {"synthetic": {"startTime": "yesterday"}}},
        "write a time with its zone, for example 2026-01-02T03:04:05Z",
    ),
    "a start without a zone": (
        {"source": {"movielens": {"startTime": "2026-01-02T03:04:05"}}},
        "write a time with its zone",
    ),
    "a start in the thirteenth month": (
        {"source": {"movielens": {"startTime": "2026-13-02T03:04:05Z"}}},
        "spec.source.movielens.startTime",
    ),
    "an empty batch": ({"batchSize": 0}, "greater than or equal to 1"),
    "a learning rate of nought": (
        {"optimizer": {"denseLearningRate": 0}},
        "should be greater than 0",
    ),
    "publishing all the time": ({"publish": {"intervalSeconds": 0}}, "greater than or equal to 1"),
    "a maintenance by nickname": (
        {"maintenance": {"schedule": "@hourly"}},
        'write five fields of cron, for example schedule: "*/10 * * * *"',
    ),
    "a grace period that is none": (
        {"maintenance": {"graceSeconds": 0}},
        "a grace period of 600 seconds or more",
    ),
    "a word misspelt": ({"publish": {"intervalSecond": 5}}, "field not declared in schema"),
    "a store without credentials": (
        store(credentialsSecretRef=None),
        "with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for example"  # noqa: ISC004
        " credentialsSecretRef: {name: s3-credentials}",
    ),
    "a collector that is no URL": (
        {"tracing": {"endpoint": "collector:4318"}},
        "endpoint is a URL that starts with http:// or https://",
    ),
    "a collector with a password": (
        {"tracing": {"endpoint": "https://me:secret@collector"}},
        "endpoint carries no user or password",
    ),
    "a collector with the path that is added": (
        {"tracing": {"endpoint": "http://collector:4318/v1/traces"}},
        "endpoint is written without /v1/traces",
    ),
    "an endpoint that is no URL": (
        store(endpoint="s3.example:9000"),
        "endpoint is a URL that starts with http:// or https://",
    ),
    "an endpoint of another kind": (
        store(endpoint="s3://models"),
        "endpoint is a URL that starts with http:// or https://",
    ),
    "credentials within the endpoint": (
        store(endpoint="https://me:secret@s3.example"),
        "endpoint carries no user or password",
    ),
    "a bucket within the endpoint": (
        store(endpoint="https://s3.example/models"),
        "endpoint ends after host and port; name the bucket in bucket",
    ),
    "a bucket with a path": (store(bucket="models/shop"), "a path within it goes into prefix"),
    "no bucket": (store(bucket=None), "spec.store.bucket: Required value"),
    "a prefix from the root": (
        store(prefix="/shop"),
        "prefix is written without a slash at either end",
    ),
    "a prefix with a slash at its end": (
        store(prefix="shop/"),
        "prefix is written without a slash at either end",
    ),
    "a prefix that climbs": (store(prefix="teams/../other"), "it may not contain . or .."),
    "a prefix with a blank": (store(prefix="my shop"), "prefix consists of letters, digits"),
    "a quantity that is none": (
        {"resources": {"requests": {"cpu": "much"}}},
        "should match",
    ),
}

SERVING: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": None}, "spec.model: Required value"),
    "a rollout with no batches": (
        delta(batches=0),
        "a rollout has at least one batch; write batches: 1 to bring a version to all users",
    ),
    "a rollout with too many batches": (delta(batches=101), "less than or equal to 100"),
    "no batches on the base lane": (
        {"rollout": {"base": {"batches": 0}}},
        "a rollout has at least one batch",
    ),
    "a negative interval": (delta(intervalSeconds=-1), "greater than or equal to 0"),
    "an error ratio above one": (delta(maxErrorRatio=1.5), "less than or equal to 1"),
    "a latency ratio that forbids everything": (
        delta(maxLatencyRatio=1),
        "should be greater than 1",
    ),
    "a correlation above one": (delta(minScoreCorrelation=2), "less than or equal to 1"),
    "no history": ({"rollout": {"revisionHistoryLimit": 0}}, "greater than or equal to 1"),
    "a deadline of nothing": (
        {"rollout": {"progressDeadlineSeconds": 1}},
        "greater than or equal to 10",
    ),
    "a pin that is a name": (
        {"versionPolicy": {"pin": "latest"}},
        "spec.versionPolicy.pin",
    ),
    "an unknown policy": (
        {"versionPolicy": {"mode": "Serial"}},
        'Unsupported value: "Serial": supported values: "LatestWins"',
    ),
    "polling all the time": ({"versionPolicy": {"pollSeconds": 0}}, "pollSeconds is at least 0.2"),
    "negative replicas": ({"replicas": -1}, "greater than or equal to 0"),
    "a store without credentials": (
        store(credentialsSecretRef=None),
        "name a Secret of this namespace",
    ),
    "a share of logged requests above one": (
        {"requestLog": {"sampleRatio": 1.5}},
        "spec.requestLog.sampleRatio in body should be less than or equal to 1",
    ),
    "a share of logged requests below nought": (
        {"requestLog": {"sampleRatio": -0.1}},
        "spec.requestLog.sampleRatio in body should be greater than or equal to 0",
    ),
    "a share of logged requests in per cent": (
        {"requestLog": {"sampleRatio": "1%"}},
        ".spec.requestLog.sampleRatio: expected numeric (int or float), got string",
    ),
    "a request log without a line": (
        {"requestLog": {"perSecond": 0}},
        "spec.requestLog.perSecond in body should be greater than 0",
    ),
    "a request log of too many lines": (
        {"requestLog": {"perSecond": 1001}},
        "spec.requestLog.perSecond in body should be less than or equal to 1000",
    ),
    "a request log into a file": (
        {"requestLog": {"path": "requests.jsonl"}},
        ".spec.requestLog.path: field not declared in schema",
    ),
    "traces to nowhere": (
        {"tracing": {"sampleRatio": 0.1}},
        "spec.tracing.endpoint: Required value",
    ),
    "a collector that is no URL": (
        traces(endpoint="collector:4318"),
        "endpoint is a URL that starts with http:// or https://",
    ),
    "a collector by another protocol": (
        traces(endpoint="grpc://collector:4317"),
        "endpoint is a URL that starts with http:// or https://",
    ),
    "a collector with a password": (
        traces(endpoint="https://me:secret@collector"),
        "endpoint carries no user or password",
    ),
    "a collector with the path that is added": (
        traces(endpoint="http://collector:4318/v1/traces"),
        "endpoint is written without /v1/traces",
    ),
    "a collector of more than 512 characters": (
        traces(endpoint=f"http://{'c' * 506}"),
        "spec.tracing.endpoint: Too long: may not be more than 512",
    ),
    "a share of traced requests above one": (
        traces(sampleRatio=2),
        "spec.tracing.sampleRatio in body should be less than or equal to 1",
    ),
    "a share of traced requests below nought": (
        traces(sampleRatio=-1),
        "spec.tracing.sampleRatio in body should be greater than or equal to 0",
    ),
}


def without_none(document: Body) -> Body:
    spec = {key: value for key, value in document["spec"].items() if value is not None}
    return {**document, "spec": spec}


@pytest.mark.parametrize(("spec", "words"), TRAINING.values(), ids=TRAINING)
def test_a_wrong_training_is_refused_with(kube: Kube, spec: dict[str, Any], words: str):
    with pytest.raises(Refused) as refused:
        kube.apply(without_none(training_document(**spec)), dryRun="All")
    assert words in refused.value.message


@pytest.mark.parametrize(("spec", "words"), SERVING.values(), ids=SERVING)
def test_a_wrong_serving_is_refused_with(kube: Kube, spec: dict[str, Any], words: str):
    with pytest.raises(Refused) as refused:
        kube.apply(without_none(serving_document(**spec)), dryRun="All")
    assert words in refused.value.message


@pytest.mark.parametrize("name", ["1shop", "shop.eu", "a" * 41])
@pytest.mark.parametrize("document", [training_document, serving_document])
def test_names_that_services_and_pods_cannot_have_are_refused(kube: Kube, document, name: str):
    with pytest.raises(Refused, match=r"metadata\.name has at most 40 characters"):
        kube.apply(document(name), dryRun="All")


def test_min_above_max_is_refused_in_our_own_words(kube: Kube):
    with pytest.raises(Refused) as refused:
        kube.apply(
            training_document(elasticPolicy={"minReplicas": 3, "maxReplicas": 2}), dryRun="All"
        )
    assert "minReplicas is at most maxReplicas: lower minReplicas" in refused.value.message


VALID: dict[str, Body] = {
    "the least of a training": training_document(),
    "the least of a serving": serving_document(),
    "a maximum that is not used yet": training_document(elasticPolicy={"maxReplicas": 8}),
    "features of every kind": training_document(model={"features": DOCUMENTS}),
    "clicks and conversions": training_document(model={"tasks": ["Click", "Conversion"]}),
    "clicks and conversions of a perceptron": training_document(
        model={"architecture": "MLP", "tasks": ["Click", "Conversion"]}
    ),
    "clicks of two towers": training_document(
        model={"architecture": "DotProduct", "tasks": ["Click"]}
    ),
    "a module of one's own in an image of one's own": training_document(
        image="localhost/shop-trainer:e2e",
        model={"architecture": "Custom", "custom": {"module": "shop.ranking:Ranker"}},
    ),
    "a start at a time of a zone": training_document(
        source={"movielens": {"startTime": "2026-01-02T03:04:05.5+02:00"}}
    ),
    "AWS itself": serving_document(**store(region="eu-west-1", prefix="teams/shop")),
    "traces": serving_document(**traces()),
    "traces of no request but those that ask": serving_document(**traces(sampleRatio=0)),
    "traces of all requests": serving_document(**traces(sampleRatio=1)),
    "a collector behind TLS": serving_document(**traces(endpoint="https://collector/otlp")),
    "a request log as it comes": serving_document(requestLog={}),
    "a log of all requests": serving_document(requestLog={"sampleRatio": 1, "perSecond": 1000}),
    "a log of a line every ten seconds": serving_document(
        requestLog={"sampleRatio": 0, "perSecond": 0.1}
    ),
    "an endpoint with a slash": serving_document(**store(endpoint="http://s3.svc:7480/")),
    "quantities of all sorts": serving_document(
        resources={
            "requests": {"cpu": 1, "memory": "1.5Gi"},
            "limits": {"cpu": "2500m", "nvidia.com/gpu": 1},
        }
    ),
    "tolerations": training_document(
        tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        nodeSelector={"disk": "fast"},
    ),
    "everything at once": serving_document(
        **delta(batches=1, intervalSeconds=0.5, minRequests=0), replicas=0
    ),
}


@pytest.mark.parametrize("document", VALID.values(), ids=VALID)
def test_this_is_accepted(kube: Kube, document: Body):
    kube.apply(document, dryRun="All")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_accepted(kube: Kube, path: Path):
    for body in yaml.safe_load_all(path.read_text()):
        assert "namespace" not in body["metadata"]
        body["metadata"]["namespace"] = "default"
        kube.apply(body, dryRun="All")


def test_defaults_are_filled_in_by_the_api_server(kube: Kube):
    found = kube.apply(serving_document(), dryRun="All")["spec"]
    assert found["replicas"] == 2
    assert found["rollout"]["delta"]["intervalSeconds"] == 2
    assert found["rollout"]["base"]["intervalSeconds"] == 120
    assert found["versionPolicy"] == {"pollSeconds": 2, "mode": "LatestWins"}
    assert not {"requestLog", "tracing"} & set(found)  # both are off until they are asked for


def test_what_is_switched_on_by_name_alone_takes_one_in_a_hundred(kube: Kube):
    document = serving_document(requestLog={}, **traces())
    found = kube.apply(document, dryRun="All")["spec"]
    assert found["requestLog"] == {"sampleRatio": 0.01, "perSecond": 10}
    assert found["tracing"]["sampleRatio"] == 0.01


def test_status_is_written_through_its_own_endpoint_only(kube: Kube, namespace: str):
    body = serving_document(namespace=namespace)
    body["status"] = {"phase": "Gray"}
    assert "status" not in kube.apply(body)


def test_scale_is_a_subresource(kube: Kube, namespace: str):
    kube.apply(serving_document(namespace=namespace))
    path = f"/apis/millstream.dev/v1alpha1/namespaces/{namespace}/recservings/shop/scale"
    scale = kube.request("GET", path)
    scale["spec"]["replicas"] = 5
    kube.request("PUT", path, json=scale)
    assert kube.get("RecServing", namespace, "shop")["spec"]["replicas"] == 5


def test_a_serving_keeps_its_model(kube: Kube, namespace: str):
    kube.apply(serving_document(namespace=namespace))
    with pytest.raises(Refused, match="create another RecServing for another model"):
        kube.apply(serving_document(namespace=namespace, model={"name": "other"}))


def test_an_old_object_that_breaks_a_newer_rule_can_still_be_edited(kube: Kube, namespace: str):
    """Ratcheting: what was stored before a rule is not held against an edit elsewhere."""
    name = "rectrainings.millstream.dev"
    strict = kube.get("CustomResourceDefinition", None, name)
    loose = copy.deepcopy(strict)
    spec = loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["replicas"].pop("x-kubernetes-validations")
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    kube.request("PUT", path, json=loose)
    try:

        def stored() -> bool:
            try:
                kube.apply(training_document(namespace=namespace, replicas=3))
            except Refused:
                return False
            return True

        eventually(stored, "the loose definition is in force")
    finally:
        current = kube.get("CustomResourceDefinition", None, name)
        current["spec"] = strict["spec"]
        kube.request("PUT", path, json=current)

    def strict_again() -> bool:
        try:
            kube.apply(training_document("other", namespace, replicas=3), dryRun="All")
        except Refused:
            return True
        return False

    eventually(strict_again, "the strict definition is in force")
    kube.patch("RecTraining", namespace, "shop", {"spec": {"batchSize": 64}})
