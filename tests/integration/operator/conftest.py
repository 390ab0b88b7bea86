"""The operator in its namespace, an S3 server, and what pretends to be pods."""

from __future__ import annotations

import base64
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from millstream_api import names
from millstream_operator.render.metadata import Parent
from tests.builders.kube import Kube, eventually
from tests.builders.operator_cluster import (
    FakeServer,
    OperatorProcess,
    Publisher,
)
from tests.builders.resources import serving_document
from tests.builders.s3_server import ACCESS_KEY, SECRET_KEY, S3Server, s3_server
from tests.integration.conftest import new_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.builders.kube import Body


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def secret(kube: Kube, namespace: str) -> None:
    data = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3-credentials", "namespace": namespace},
            "data": {key: base64.b64encode(each.encode()).decode() for key, each in data.items()},
        }
    )


@pytest.fixture
def operator(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """With the chart's rights, not started yet."""
    process = OperatorProcess(kube, [namespace], tmp_path)
    process.grant()
    yield process
    process.close()


@dataclass
class Pool:
    """One running operator for many tests, each of which takes a namespace of its own."""

    operator: OperatorProcess
    free: list[str]


@pytest.fixture(scope="module")
def pool(
    request: pytest.FixtureRequest,
    kube: Kube,
    namespaces: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pool]:
    """As many namespaces as the module has tests."""
    tests = [item for item in request.session.items if item.module is request.module]
    names = [new_namespace(kube, namespaces) for _ in tests]
    process = OperatorProcess(kube, names, tmp_path_factory.mktemp("operator"))
    process.grant()
    process.start()
    yield Pool(process, list(names))
    process.close()
    for name in names:
        kube.delete("Namespace", None, name)


@dataclass
class Shop:
    """One RecServing with its store and servers, as a test sees it."""

    kube: Kube
    namespace: str
    operator: OperatorProcess
    publisher: Publisher
    stack: ExitStack
    name: str = "shop"
    servers: list[FakeServer] = field(default_factory=list)

    def apply(self, **spec: Any) -> None:
        settings = self.publisher.s3.settings
        store = {
            "endpoint": settings.endpoint,
            "bucket": settings.bucket,
            "credentialsSecretRef": {"name": "s3-credentials"},
        }
        rollout = {"delta": {"intervalSeconds": 0.3}}
        known = {
            "model": {"name": self.publisher.model},
            "store": store,
            "versionPolicy": {"pollSeconds": 0.3},
            "rollout": rollout,
        }
        self.kube.apply(serving_document(self.name, self.namespace, **(known | spec)))

    def add_server(self, name: str) -> FakeServer:
        parent = Parent("RecServing", self.namespace, self.name, "")
        server = FakeServer(self.kube, parent, name)
        self.stack.callback(server.close)
        self.servers.append(server)
        return server

    @property
    def body(self) -> Body:
        return self.kube.get("RecServing", self.namespace, self.name)

    @property
    def status(self) -> Body:
        found: Body = self.body.get("status") or {}
        return found

    @property
    def release(self) -> Body:
        found: Body = self.status.get("release") or {}
        return found

    def condition(self, kind: str) -> tuple[str, str]:
        for each in self.status.get("conditions") or ():
            if each["type"] == kind:
                return each["status"], each["reason"]
        return "", ""

    def eventually(self, check: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        return eventually(check, what, seconds, self.explain)

    def explain(self) -> str:
        return f"{self.status}\n{self.operator.log()}"

    def serves(self, version: int, seconds: float = 30) -> None:
        """Wait until everybody gets a version."""

        def settled() -> bool:
            status = self.status
            return status.get("stableVersion") == version and "candidateVersion" not in status

        self.eventually(settled, f"version {version} is stable", seconds)

    def rollback_to(self, version: str | None) -> None:
        self.kube.annotate(
            "RecServing", self.namespace, self.name, names.ANNOTATION_ROLLBACK_TO, version
        )

    def events(self) -> list[tuple[str, str]]:
        """Type and reason of the events on the object, oldest first."""
        found = [
            event
            for event in self.kube.list("Event", self.namespace)
            if event["involvedObject"]["kind"] == "RecServing"
        ]
        found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [(event["type"], event["reason"]) for event in found]


@pytest.fixture
def shop(
    kube: Kube,
    namespace: str,
    operator: OperatorProcess,
    s3: S3Server,
    secret: None,  # noqa: ARG001 - it has to be there
) -> Iterator[Shop]:
    """A shop whose operator is not started, with two servers and nothing applied."""
    publisher = Publisher(s3, f"model-{namespace}")
    with ExitStack() as stack:
        found = Shop(kube, namespace, operator, publisher, stack)
        found.add_server("shop-server-a")
        found.add_server("shop-server-b")
        yield found


@pytest.fixture
def running(shop: Shop) -> Shop:
    """The same with version 1 served."""
    shop.operator.start()
    shop.apply()
    shop.publisher.publish(1)
    shop.serves(1)
    return shop
