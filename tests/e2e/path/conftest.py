"""The full cluster with millstream installed by its chart, and one model trained and served."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from demo import installation as steps
from tests.builders.kube import Kube

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.installation import Installation

NAMESPACE = "path"


@pytest.fixture(scope="session")
def installed() -> Installation:
    if os.geteuid() != 0:
        pytest.skip("the full local cluster needs root: run as root, or see MILLSTREAM_CLUSTER")
    installation = steps.bring_up_cluster()
    steps.load_images()
    # The demo may still run: it trains the same model, and the node has no room for both.
    steps.start_afresh(installation, steps.NAMESPACE)
    steps.start_afresh(installation, NAMESPACE, "shop", "movielens")
    steps.install_chart(installation)
    return installation


@pytest.fixture(scope="session")
def kube(installed: Installation) -> Iterator[Kube]:
    with Kube(installed.kubeconfig) as client:
        yield client


@pytest.fixture(scope="session")
def namespace(installed: Installation) -> str:
    """A restricted namespace in which the examples were applied."""
    steps.apply_examples(installed, NAMESPACE, "rectraining.yaml", "recserving.yaml")
    return NAMESPACE
