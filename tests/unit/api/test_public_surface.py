"""What the outside world relies on; a change here is a change for everybody who uses it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millstream_api import crd, names
from millstream_api.conditions import Reason, Type
from millstream_operator.main import _options
from millstream_operator.shell.metrics import Metrics
from tests.builders.golden import same_as

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS = Path(__file__).parents[2] / "golden" / "api" / "fields.txt"


def test_names():
    frozen = {
        "GROUP_VERSION": "millstream.dev/v1alpha1",
        "CATEGORY": "recsys",
        "ANNOTATION_ROLLBACK_TO": "millstream.dev/rollback-to",
        "ANNOTATION_PAUSE": "millstream.dev/pause",
        "HTTP_PORT_NAME": "http",
        "TRAINER_PORT": 8081,
        "SERVER_PORT": 8080,
        "HEADER_VERSION": "x-millstream-version",
        "HEADER_BATCH": "x-millstream-batch",
        "HEADER_WATERMARK": "x-millstream-watermark",
        "CHANNEL_LATEST": "latest",
        "CHANNEL_STABLE": "stable",
        "SETTINGS_PATH": "/etc/millstream/settings.json",
        "OVERFLOW_PATH": "/overflow",
    }
    assert {name: getattr(names, name) for name in frozen} == frozen


@pytest.mark.parametrize(
    ("file", "short", "columns", "wide"),
    [
        (
            "rectrainings.yaml",
            "rtr",
            ["Ready", "Workers", "Util", "Lag", "Version", "Freshness", "Reason", "Age"],
            ["Model", "Lineage", "AUC"],
        ),
        (
            "recservings.yaml",
            "rsv",
            ["Ready", "Stable", "Candidate", "Batch", "Phase", "Replicas", "Freshness", "Age"],
            ["Model", "Pending", "Quarantined", "Reason"],
        ),
    ],
)
def test_kinds_and_columns(file: str, short: str, columns: list[str], wide: list[str]):
    spec = crd.definitions()[file]["spec"]
    assert spec["names"]["plural"] == file.removesuffix(".yaml")
    assert spec["names"]["shortNames"] == [short]
    assert spec["names"]["categories"] == ["recsys"]
    [version] = spec["versions"]
    found = version["additionalPrinterColumns"]
    assert [each["name"] for each in found if not each.get("priority")] == columns
    assert [each["name"] for each in found if each.get("priority")] == wide
    assert version["subresources"].keys() == {"status", "scale"}


def fields(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Every field below a node with its type, enumeration and default."""
    for name, child in schema.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        told = [where, child.get("type", "int-or-string")]
        told += [f"{word}={child[word]}" for word in ("enum", "default") if word in child]
        yield " ".join(str(each) for each in told)
        yield from fields(child, where)
        if isinstance(child.get("items"), dict):
            yield from fields(child["items"], f"{where}[]")


def test_fields():
    """Fields are only ever added; WRITE_GOLDEN=1 rewrites the file, to be read as a diff."""
    lines = []
    for file, document in crd.definitions().items():
        schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        lines += [f"{file.removesuffix('.yaml')} {line}" for line in fields(schema)]
    assert same_as(FIELDS, "\n".join(lines) + "\n")


def test_condition_types():
    found = {value for name, value in vars(Type).items() if name.isupper()}
    assert found == {
        "AnalysisHealthy",
        "Available",
        "CheckpointHealthy",
        "Paused",
        "Progressing",
        "Ready",
        "Reconciling",
        "RolledBack",
        "ScalingActive",
        "Stalled",
        "StoreReachable",
        "Suspended",
        "VersionLoaded",
    }


def test_reasons_are_single_words_with_one_meaning():
    found = [value for name, value in vars(Reason).items() if name.isupper()]
    assert len(found) == len(set(found))
    assert all(value.isalpha() and value[0].isupper() for value in found)


def test_metrics_of_the_operator():
    found = {
        line.split()[2]
        for line in Metrics().render().decode().splitlines()
        if line.startswith("# TYPE") and not line.split()[2].endswith("_created")
    }
    assert found == {
        "millstream_operator_leading",
        "millstream_operator_loop_lag_seconds",
        "millstream_operator_object_ready",
        "millstream_operator_queue_depth",
        "millstream_operator_queue_oldest_seconds",
        "millstream_operator_queue_retrying",
        "millstream_operator_reconcile_seconds",
        "millstream_operator_reconciles_total",
        "millstream_operator_resyncs_total",
        "millstream_operator_watch_events_total",
        "millstream_operator_watermark_timestamp_seconds",
        "millstream_rollbacks_total",
        "millstream_rollout_batch",
        "millstream_rollout_duration_seconds",
        "millstream_rollout_info",
    }


def test_options_of_the_operator():
    words = ["--namespace", "a", "--namespace", "b", "--namespace", "a", "--port", "1"]
    words += ["--lease-name", "l", "--lease-namespace", "n", "--identity", "me"]
    words += ["--trainer-image", "t", "--server-image", "s", "--kubeconfig", "k"]
    options, level = _options([*words, "--log-level", "DEBUG"])
    assert options.namespaces == ("a", "b")
    assert (options.port, options.lease_name, options.lease_namespace) == (1, "l", "n")
    assert (options.images.trainer, options.images.server) == ("t", "s")
    assert (options.identity, options.kubeconfig, level) == ("me", "k", "DEBUG")
    assert _options([])[0].namespaces == (None,)


def test_images_come_from_the_environment_that_the_chart_sets(monkeypatch):
    monkeypatch.setenv("MILLSTREAM_TRAINER_IMAGE", "registry/trainer:9")
    monkeypatch.setenv("MILLSTREAM_SERVER_IMAGE", "registry/server:9")
    images = _options([])[0].images
    assert (images.trainer, images.server) == ("registry/trainer:9", "registry/server:9")
