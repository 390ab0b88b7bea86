"""What is left of all that the tests before this one have used: nothing that was not promised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from demo import installation as steps
from demo.commands import run
from tests.builders.kube import Kube, eventually
from tests.e2e.path.looking import explain, stable

if TYPE_CHECKING:
    from demo.installation import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# What the control plane itself keeps in every namespace.
ALWAYS_THERE = {"kube-root-ca.crt", "default"}


def test_deleting_both_objects_leaves_no_orphan(
    installed: Installation, kube: Kube, namespace: str
) -> None:
    for kind in ("RecServing", "RecTraining"):
        kube.delete(kind, namespace, "shop")
    kinds = (
        "pods,statefulsets,deployments,replicasets,services,configmaps,serviceaccounts,"
        "poddisruptionbudgets,roles,rolebindings,endpointslices"
    )

    def left() -> set[str]:
        names = installed.kubectl("-n", namespace, "get", kinds, "-o", "name").split()
        return {name for name in names if name.partition("/")[2] not in ALWAYS_THERE}

    eventually(lambda: not left(), "nothing is left", 120, lambda: str(left()))


def test_recorded_ratings_train_a_model_too(
    installed: Installation, kube: Kube, namespace: str
) -> None:
    steps.apply_examples(installed, namespace, "movielens.yaml")
    eventually(
        lambda: stable(kube, namespace, "movielens") is not None,
        "a model of the recorded ratings is stable",
        180,
        lambda: explain(installed, namespace),
    )
    url = installed.service_url(namespace, "movielens")
    ranked = httpx.post(f"{url}/v1/rank", json={"user_id": 196, "items": [242, 302]}, timeout=5)
    assert ranked.status_code == 200, ranked.text
    for kind in ("RecTraining", "RecServing"):
        kube.delete(kind, namespace, "movielens")


def test_uninstalling_the_chart_leaves_only_what_it_promises_to_keep(
    installed: Installation,
) -> None:
    helm = ["helm", "-n", steps.SYSTEM_NAMESPACE, "uninstall", "millstream", "--wait"]
    run(helm, installed.environment)
    left = installed.kubectl(
        "get",
        "clusterroles,clusterrolebindings",
        "-l",
        "app.kubernetes.io/name=millstream",
        "-o",
        "name",
    )
    assert not left.split()
    crds = installed.kubectl("get", "crds", "-o", "name").split()
    assert {name for name in crds if name.endswith("millstream.dev")} == {
        "customresourcedefinition.apiextensions.k8s.io/rectrainings.millstream.dev",
        "customresourcedefinition.apiextensions.k8s.io/recservings.millstream.dev",
    }, "crds.keep keeps them, and so every RecTraining and RecServing"
