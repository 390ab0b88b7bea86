"""What holds of the chart whatever it is given."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from millstream_api import crd
from tests.builders.operator_cluster import CHART, helm, helm_template

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = sorted(CHART.glob("templates/*"))
FREE = {"resources", "podAnnotations", "nodeSelector", "tolerations", "affinity", "annotations"}


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value and key not in FREE:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


LEAVES = list(leaves(VALUES))


def test_it_lints_without_a_warning():
    done = subprocess.run(  # noqa: S603 - our own binary
        [helm(), "lint", "--strict", CHART], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


def test_it_renders_the_same_twice():
    assert helm_template() == helm_template()


def test_nothing_in_it_depends_on_the_cluster_or_on_chance():
    """Argo CD renders without a cluster, and compares."""
    text = "\n".join(path.read_text() for path in TEMPLATES if path.is_file())
    assert not re.search(r"\b(lookup|rand\w+|genCA|now|uuidv4|Capabilities)\b", text)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_value_is_used_and_a_misspelt_one_is_refused(path: tuple[str, ...], tmp_path: Path):
    text = "\n".join(each.read_text() for each in CHART.rglob("templates/**/*") if each.is_file())
    assert f".Values.{'.'.join(path)}" in text
    values = copy.deepcopy(VALUES)
    parent = values
    for part in path[:-1]:
        parent = parent[part]
    parent[f"{path[-1]}X"] = parent.pop(path[-1])
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helm_template("--values", str(file))
    assert f"{path[-1]}X" in refused.value.stderr


@pytest.mark.parametrize(
    "words",
    ["replicaCount=two", "logLevel=LOUD", "images.server=", "watchNamespaces={A_B}"],
)
def test_a_value_of_the_wrong_kind_is_refused(words: str):
    with pytest.raises(subprocess.CalledProcessError):
        helm_template("--set", words)


def test_its_definitions_are_those_of_the_crds_folder():
    found = {
        body["metadata"]["name"]: body
        for body in helm_template("--set", "crds.keep=false")
        if body["kind"] == "CustomResourceDefinition"
    }
    assert found == {body["metadata"]["name"]: body for body in crd.definitions().values()}


def test_definitions_are_kept_by_default_and_can_be_left_out():
    kept = [body for body in helm_template() if body["kind"] == "CustomResourceDefinition"]
    assert len(kept) == 2
    for body in kept:
        assert body["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    without = helm_template("--set", "crds.enabled=false")
    assert not [body for body in without if body["kind"] == "CustomResourceDefinition"]


def test_with_namespaces_no_right_reaches_beyond_them():
    bodies = helm_template("--set", "watchNamespaces={a,b}")
    assert not [body for body in bodies if body["kind"].startswith("ClusterRole")]
    rights = {body["metadata"]["namespace"] for body in bodies if body["kind"] == "Role"}
    assert rights == {"a", "b", "millstream-system"}
    [deployment] = [body for body in bodies if body["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert {"--namespace=a", "--namespace=b"} <= set(container["args"])


def test_no_right_is_a_wildcard_and_secrets_are_never_listed():
    for body in helm_template():
        for rule in body.get("rules", ()):
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            if "secrets" in rule["resources"]:
                assert rule["verbs"] == ["get"]


def test_the_operator_keeps_to_the_restricted_standard():
    [deployment] = [body for body in helm_template() if body["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"]


@pytest.mark.parametrize("name", ["millstream", "my-millstream", "shop", "x" * 53])
def test_names_fit_whatever_the_release_is_called(name: str):
    done = subprocess.run(  # noqa: S603 - our own binary
        [helm(), "template", name, CHART], capture_output=True, text=True, timeout=60, check=True
    )
    for body in yaml.safe_load_all(done.stdout):
        assert len(body["metadata"]["name"]) <= 63
