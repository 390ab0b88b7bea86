"""The chart's life on a real API server: install, upgrade, uninstall."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from devcluster import control_plane
from tests.builders.kube import Kube, eventually
from tests.builders.operator_cluster import CHART, SYSTEM_NAMESPACE, ensure_namespace, helm
from tests.builders.resources import serving_document

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration


def test_install_upgrade_and_uninstall(tmp_path: Path):
    with control_plane(tmp_path / "cluster") as cluster, Kube(cluster.kubeconfig) as kube:

        def run(*words: str) -> str:
            done = subprocess.run(  # noqa: S603 - our own binary
                [helm(), *words, "--kubeconfig", cluster.kubeconfig, "-n", SYSTEM_NAMESPACE],
                capture_output=True,
                text=True,
                timeout=90,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        # The namespace enforces the standard that the operator's own pods have to meet.
        ensure_namespace(
            kube, SYSTEM_NAMESPACE, **{"pod-security.kubernetes.io/enforce": "restricted"}
        )
        notes = run("install", "millstream", str(CHART))
        assert "kubectl get rectrainings,recservings" in notes
        eventually(
            lambda: kube.list("Pod", SYSTEM_NAMESPACE), "the API server admits the operator's pod"
        )
        kube.apply(serving_document())

        run("upgrade", "millstream", str(CHART), "--set", "logLevel=DEBUG")
        deployment = kube.get("Deployment", SYSTEM_NAMESPACE, "millstream-operator")
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        assert "--log-level=DEBUG" in container["args"]

        run("uninstall", "millstream")
        assert kube.find("RecServing", "default", "shop"), "objects outlive the operator"
        assert kube.find("Deployment", SYSTEM_NAMESPACE, "millstream-operator") is None
        assert kube.find("ClusterRole", None, "millstream-operator") is None

        run("install", "millstream", str(CHART), "--set", "crds.keep=false")
        run("uninstall", "millstream")
        eventually(
            lambda: (
                kube.find("CustomResourceDefinition", None, "recservings.millstream.dev") is None
            ),
            "asked to, it takes the definitions along",
            40,
        )
