"""One control plane for all integration tests; a namespace for each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import yaml

from devcluster import control_plane
from tests.builders.kube import Kube, eventually
from tests.builders.operator_cluster import ROOT, SYSTEM_NAMESPACE, ensure_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devcluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """etcd, API server, controller manager and scheduler, with an audit log."""
    with control_plane(tmp_path_factory.mktemp("control-plane"), audit=True) as running:
        yield running


@pytest.fixture(scope="session")
def audit_log(cluster: Cluster) -> Path:
    return cluster.state.log("audit")


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Iterator[Kube]:
    """The administrator, on a cluster that knows both custom resources."""
    with Kube(cluster.kubeconfig) as client:
        for name in ("rectrainings", "recservings"):
            client.apply(yaml.safe_load((ROOT / "crds" / f"{name}.yaml").read_text()))
            eventually(partial(_is_served, client, name), f"{name} are served")
        ensure_namespace(client, SYSTEM_NAMESPACE)
        yield client


def _is_served(client: Kube, plural: str) -> bool:
    return bool(client.request("GET", f"/apis/millstream.dev/v1alpha1/{plural}"))


@pytest.fixture(scope="session")
def namespaces(kube: Kube) -> Iterator[list[str]]:
    """The namespaces made so far; all of them have to vanish, which a stray finalizer prevents."""
    made: list[str] = []
    yield made
    for name in made:
        # Nobody runs pods here, so nobody says that they have ended.
        eventually(partial(_is_gone, kube, name), f"namespace {name} is gone", 90)


@pytest.fixture
def namespace(kube: Kube, namespaces: list[str]) -> Iterator[str]:
    """A namespace of the test's own."""
    name = new_namespace(kube, namespaces)
    yield name
    kube.delete("Namespace", None, name)


def new_namespace(kube: Kube, namespaces: list[str]) -> str:
    """A further namespace, which enforces the restricted standard."""
    name = f"test-{len(namespaces) + 1}"
    namespaces.append(name)
    ensure_namespace(kube, name, **{"pod-security.kubernetes.io/enforce": "restricted"})
    eventually(lambda: kube.find("ServiceAccount", name, "default"), "the default account")
    return name


def _is_gone(kube: Kube, namespace: str) -> bool:
    if kube.find("Namespace", None, namespace) is None:
        return True
    for pod in kube.list("Pod", namespace):
        kube.delete("Pod", namespace, pod["metadata"]["name"])
    return False
