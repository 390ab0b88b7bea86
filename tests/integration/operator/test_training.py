"""A RecTraining on a real API server, with a trainer that pretends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millstream_operator.render.metadata import Parent
from tests.builders.kube import eventually
from tests.builders.operator_cluster import FakeTrainer
from tests.builders.resources import (
    AWAY,
    make_progress,
    make_ref,
    serving_document,
    training_document,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.builders.kube import Kube
    from tests.builders.operator_cluster import OperatorProcess
    from tests.integration.operator.conftest import Pool

pytestmark = pytest.mark.integration


@pytest.fixture
def operator(pool: Pool) -> OperatorProcess:
    """One for all tests of this module."""
    return pool.operator


@pytest.fixture
def namespace(pool: Pool) -> str:
    return pool.free.pop()


class Training:
    """One RecTraining and its worker."""

    def __init__(self, kube: Kube, namespace: str, operator: OperatorProcess) -> None:
        self.kube, self.namespace, self.operator = kube, namespace, operator
        self.trainer: FakeTrainer | None = None

    def apply(self, **spec: Any) -> None:
        self.kube.apply(training_document(namespace=self.namespace, **spec))

    def train(self) -> FakeTrainer:
        """Be the worker's pod, in the place of the one that no kubelet runs."""
        self.kube.delete("Pod", self.namespace, "shop-trainer-0")
        parent = Parent("RecTraining", self.namespace, "shop", "")
        self.trainer = FakeTrainer(self.kube, parent, "pretended", make_progress())
        return self.trainer

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = (
            self.kube.get("RecTraining", self.namespace, "shop").get("status") or {}
        )
        return found

    def condition(self, kind: str) -> tuple[str, str]:
        for each in self.status.get("conditions") or ():
            if each["type"] == kind:
                return each["status"], each["reason"]
        return "", ""

    def eventually(self, check: Any, what: str, seconds: float = 20) -> Any:
        return eventually(check, what, seconds, lambda: f"{self.status}\n{self.operator.log()}")


@pytest.fixture
def training(kube: Kube, namespace: str, operator: OperatorProcess) -> Iterator[Training]:
    found = Training(kube, namespace, operator)
    yield found
    if found.trainer is not None:
        found.trainer.close()


def test_it_runs_one_worker_in_a_restricted_namespace_and_tells_how_it_goes(training: Training):
    training.apply()
    pod = training.eventually(
        lambda: training.kube.find("Pod", training.namespace, "shop-trainer-0"),
        "the API server admits the worker",
    )
    assert pod["spec"]["automountServiceAccountToken"] is False
    training.eventually(lambda: training.condition("Ready")[0] == "False", "it is not ready yet")

    trainer = training.train()
    training.eventually(lambda: training.status.get("version") == 3, "the version is told")
    status = training.status
    assert status["lineage"] == make_ref(3).lineage
    assert status["validation"] == {"auc": 0.71, "logLoss": 0.55}
    assert (status["utilization"], status["lag"]) == ("40%", "<1s")
    assert training.condition("CheckpointHealthy") == ("True", "CheckpointCommitted")

    trainer.progress = make_progress(published=make_ref(4), auc=0.72)
    training.eventually(lambda: training.status.get("version") == 4, "the next one too")
    assert training.status["validation"]["auc"] == 0.72

    # A worker that has just restarted has measured nothing yet.
    trainer.progress = make_progress(published=make_ref(5), auc=None, log_loss=None)
    training.eventually(lambda: training.status.get("version") == 5, "also one nobody has judged")
    assert "validation" not in training.status


def test_a_store_that_is_away_is_said_and_training_goes_on(training: Training):
    training.apply()
    training.eventually(
        lambda: training.kube.find("Pod", training.namespace, "shop-trainer-0"), "it is made"
    )
    trainer = training.train()
    training.eventually(lambda: training.status.get("version") == 3, "it publishes")
    trainer.progress = make_progress(store=AWAY)
    training.eventually(
        lambda: training.condition("CheckpointHealthy") == ("False", "Unreachable"), "it is said"
    )
    assert training.condition("StoreReachable") == ("False", "Unreachable")
    trainer.progress = make_progress()
    training.eventually(
        lambda: training.condition("CheckpointHealthy")[0] == "True", "it is said again"
    )


def test_suspending_stops_the_worker_and_is_as_asked(training: Training):
    training.apply(suspend=True)
    training.eventually(
        lambda: training.condition("Ready") == ("True", "Suspended"), "it is suspended"
    )
    found = training.kube.get("StatefulSet", training.namespace, "shop-trainer")
    assert found["spec"]["replicas"] == 0
    training.apply(suspend=False)
    training.eventually(
        lambda: training.kube.find("Pod", training.namespace, "shop-trainer-0"), "it trains again"
    )


def test_a_larger_maximum_is_accepted_and_said_to_be_unused(training: Training):
    training.apply(elasticPolicy={"minReplicas": 1, "maxReplicas": 4})
    training.eventually(
        lambda: training.condition("ScalingActive") == ("False", "OneWorkerOnly"), "it is said"
    )
    found = training.kube.get("StatefulSet", training.namespace, "shop-trainer")
    assert found["spec"]["replicas"] == 1


def test_new_settings_make_a_new_worker(training: Training):
    training.apply()
    training.eventually(
        lambda: training.kube.find("Pod", training.namespace, "shop-trainer-0"), "it is made"
    )
    before = training.kube.get("StatefulSet", training.namespace, "shop-trainer")
    training.apply(batchSize=64)

    def changed() -> bool:
        after = training.kube.get("StatefulSet", training.namespace, "shop-trainer")
        return after["spec"]["template"] != before["spec"]["template"]

    training.eventually(changed, "the template follows")


def test_serving_and_training_of_one_name_live_side_by_side(training: Training):
    training.apply()
    training.kube.apply(serving_document(namespace=training.namespace))
    training.eventually(
        lambda: training.kube.find("Deployment", training.namespace, "shop-server"), "it serves"
    )
    training.eventually(
        lambda: training.kube.find("StatefulSet", training.namespace, "shop-trainer"), "it trains"
    )
