"""The full cluster with millstream installed by its chart, and one model trained and served.

Only while these tests run: the others want the cores for themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo import installation as steps
from devcluster.sharing import shared_cluster, why_no_cluster
from tests.builders.kube import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.installation import Installation

NAMESPACE = "path"


@pytest.fixture(scope="package")
def installed() -> Iterator[Installation]:
    if reason := why_no_cluster():
        pytest.skip(reason)
    with shared_cluster():
        installation = steps.bring_up_cluster()
        steps.load_images()
        # The demo may still run: it trains the same model, and the node has no room for both.
        steps.start_afresh(installation, steps.NAMESPACE)
        steps.start_afresh(installation, NAMESPACE, "shop", "movielens")
        steps.install_chart(installation)
        yield installation


@pytest.fixture(scope="package")
def kube(installed: Installation) -> Iterator[Kube]:
    with Kube(installed.kubeconfig) as client:
        yield client


@pytest.fixture(scope="package")
def namespace(installed: Installation) -> str:
    """A restricted namespace in which the examples were applied."""
    steps.apply_examples(installed, NAMESPACE, "rectraining.yaml", "recserving.yaml")
    return NAMESPACE


@pytest.fixture
def url(installed: Installation, namespace: str) -> str:
    return installed.service_url(namespace, "shop")
