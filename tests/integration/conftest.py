"""One control plane for all integration tests; a namespace for each."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING

import pytest
import yaml

from devcluster import control_plane
from tests.builders.kube import Kube, Refused, eventually
from tests.builders.operator_cluster import ROOT, SYSTEM_NAMESPACE, ensure_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from devcluster import Cluster

_NUMBERS = itertools.count(1)


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


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace that enforces the restricted standard and is gone after the test."""
    name = f"test-{next(_NUMBERS)}"
    ensure_namespace(kube, name, **{"pod-security.kubernetes.io/enforce": "restricted"})
    eventually(lambda: kube.find("ServiceAccount", name, "default"), "the default account")
    yield name
    kube.delete("Namespace", None, name)

    def gone() -> bool:
        try:
            kube.get("Namespace", None, name)
        except Refused as refused:
            return refused.status == 404
        # Nobody runs pods here, so nobody says that they have ended.
        for pod in kube.list("Pod", name):
            kube.delete("Pod", name, pod["metadata"]["name"])
        return False

    eventually(gone, f"namespace {name} is gone", 60)
