"""The operator as a real process on a real API server, among servers and trainers that pretend.

There is no kubelet: pods are objects whose status the test writes, and what they would say over
the network is said by small HTTP servers on loopback, in the real wire formats.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import yaml

from devcluster.binaries import Binaries
from devcluster.paths import cache_root
from devcluster.progress import Progress
from millstream_api.manifest import Channel, VersionRef
from millstream_api.release import Release
from millstream_core.store import ModelStore, PreconditionFailed
from millstream_operator.render.metadata import Parent, selector_labels
from tests.builders.kube import Refused, eventually
from tests.builders.manifests import make_manifest
from tests.builders.operator import Server
from tests.builders.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from millstream_api.reports import Progress as TrainerProgress
    from tests.builders.kube import Body, Kube
    from tests.builders.s3_server import S3Server

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "millstream"
SYSTEM_NAMESPACE = "millstream-system"
ACCOUNT = "millstream-operator"


def helm() -> Path:
    return Binaries(cache_root(), Progress()).clients() / "helm"


def helm_template(*words: str) -> list[Body]:
    """What the chart renders to, without a cluster."""
    done = subprocess.run(  # noqa: S603 - our own binary
        [helm(), "template", "millstream", CHART, "--namespace", SYSTEM_NAMESPACE, *words],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [body for body in yaml.safe_load_all(done.stdout) if body]


def ensure_namespace(kube: Kube, name: str, **labels: str) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    kube.apply(body)


class OperatorProcess:
    """`millstream-operator` with the chart's account and rights, watching one namespace."""

    def __init__(
        self, kube: Kube, namespaces: Iterable[str], folder: Path, name: str = "op"
    ) -> None:
        self.kube = kube
        self.namespaces = tuple(namespaces)
        self.folder = folder
        self.name = name
        self.log_file = folder / f"{name}.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def grant(self) -> None:
        """Install the chart's account, roles and bindings; nothing else of it."""
        if self.kube.find("Lease", SYSTEM_NAMESPACE, ACCOUNT) is not None:
            self.kube.delete("Lease", SYSTEM_NAMESPACE, ACCOUNT)  # of one killed before
        scope = ",".join(self.namespaces)
        words = ["--set", f"watchNamespaces={{{scope}}}"] if scope else []
        for body in helm_template(*words):
            if body["kind"] in {
                "ServiceAccount",
                "Role",
                "RoleBinding",
                "ClusterRole",
                "ClusterRoleBinding",
            }:
                self.kube.apply(body)

    def kubeconfig(self) -> Path:
        """A kubeconfig with a fresh token of the operator's account."""
        path = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = self.kube.request("POST", path, json=request)["status"]["token"]
        access = self.kube.access
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": access.server,
                        "certificate-authority": str(access.ca_file),
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        target = self.folder / f"{self.name}.kubeconfig"
        target.write_text(yaml.safe_dump(config))
        return target

    def start(self, *, wait: bool = True) -> None:
        """Start it, unless it runs."""
        if self._process is not None:
            return
        words = [sys.executable, "-m", "millstream_operator.main", "--log-level", "DEBUG"]
        words += ["--kubeconfig", str(self.kubeconfig()), "--port", str(self.port)]
        words += ["--lease-namespace", SYSTEM_NAMESPACE, "--lease-name", ACCOUNT]
        words += ["--identity", self.name, "--trainer-image", "trainer:1"]
        words += ["--server-image", "server:1"]
        words += [word for each in self.namespaces for word in ("--namespace", each)]
        path = os.pathsep.join(str(ROOT / each) for each in ("crds", "core", "operator"))
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                words,
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=log,
            )
        if wait:
            eventually(self.leads, f"{self.name} leads", 30, self.log)

    def metrics(self) -> dict[str, float]:
        """Its series by name with labels; empty while it does not listen."""
        try:
            text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=2).text
        except httpx.HTTPError:
            return {}
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def leads(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended\n{self.log()}"
        return self.metrics().get("millstream_operator_leading") == 1

    def answer(self, path: str) -> int:
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=2).status_code
        except httpx.HTTPError:
            return 0

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 25) -> int:
        assert self._process is not None
        status = self._process.wait(timeout=seconds)
        self._process = None
        return status

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def log(self) -> str:
        if not self.log_file.exists():
            return "(no log)"
        return self.log_file.read_text(errors="replace")[-6000:]

    def lines(self) -> list[dict[str, Any]]:
        """The log's JSON lines."""
        text = self.log_file.read_text(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@dataclass
class Publisher:
    """Publishes versions as a trainer would, without their data."""

    s3: S3Server
    model: str
    refs: dict[int, VersionRef] = field(default_factory=dict)

    def store(self) -> ModelStore:
        return ModelStore(self.s3.objects(), self.s3.settings.prefix, self.model)

    def publish(self, version: int, parent: int | None = None, **fields: Any) -> VersionRef:
        store = self.store()
        manifest = make_manifest(
            version,
            None if parent is None else self.refs[parent],
            model=self.model,
            watermark={"first": 1_800_000_000.0, "last": 1_800_000_000.0 + version},
            **fields,
        )
        ref = self.refs[version] = store.commit(manifest)
        known = store.channel("latest")
        channel = Channel(target=ref, reason="published", actor="test", moved_at=1_800_000_000.0)
        store.move_channel("latest", channel, etag=known[1] if known else None)
        return ref

    def stable(self) -> Channel | None:
        try:
            known = self.store().channel("stable")
        except PreconditionFailed:
            return None
        return known[0] if known else None


CHILDREN = ("ConfigMap", "Deployment", "StatefulSet", "Service", "ServiceAccount", "Role")
MORE_CHILDREN = ("RoleBinding", "CronJob", "PodDisruptionBudget", "Pod")


def ours(kube: Kube, namespace: str) -> list[str]:
    """All objects with our label, as Kind/name."""
    selector = "app.kubernetes.io/managed-by=millstream"
    return [
        f"{kind}/{body['metadata']['name']}"
        for kind in (*CHILDREN, *MORE_CHILDREN)
        for body in kube.list(kind, namespace, selector)
    ]


class FakePod:
    """A ready pod on loopback whose HTTP server answers one path."""

    def __init__(
        self, kube: Kube, parent: Parent, name: str, path: str, answer: Callable[[], bytes | None]
    ) -> None:
        self.kube, self.parent, self.name = kube, parent, name

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answer() if self.path == path else None
                if found is None:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.create()

    def create(self) -> None:
        meta = {
            "name": self.name,
            "namespace": self.parent.namespace,
            "labels": selector_labels(self.parent),
        }
        spec = {
            "schedulerName": "nobody",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": self.parent.component,
                    "image": "pretend:1",
                    "ports": [{"name": "http", "containerPort": self._server.server_port}],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        }
        self.kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        self.set(ready=True)

    def set(self, *, ready: bool, restarts: int = 0) -> None:
        """What a kubelet would say."""
        now = "2026-01-01T00:00:00Z"
        container = self.parent.component
        status = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "podIPs": [{"ip": "127.0.0.1"}],
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True" if ready else "False",
                    "lastTransitionTime": now,
                }
            ],
            "containerStatuses": [
                {
                    "name": container,
                    "ready": ready,
                    "restartCount": restarts,
                    "image": "pretend:1",
                    "imageID": "",
                    "started": True,
                    "state": {"running": {"startedAt": now}},
                }
            ],
        }
        self.kube.patch(
            "Pod", self.parent.namespace, self.name, {"status": status}, subresource="status"
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


class FakeServer(FakePod):
    """A model server that follows the release ConfigMap; `does` says how well."""

    def __init__(self, kube: Kube, parent: Parent, name: str) -> None:
        self.does = Server(name)
        self._lock = threading.Lock()
        super().__init__(kube, parent, name, "/release", self._report)

    def _report(self) -> bytes | None:
        try:
            found = self.kube.get("ConfigMap", self.parent.namespace, f"{self.parent.name}-release")
        except Refused:
            return None
        release = Release.parse(found["data"]["release.json"])
        with self._lock:
            replica = self.does.seen(release)
        return None if replica.report is None else replica.report.canonical()


class FakeTrainer(FakePod):
    """A trainer that says what `progress` is."""

    def __init__(self, kube: Kube, parent: Parent, name: str, progress: TrainerProgress) -> None:
        self.progress = progress
        super().__init__(kube, parent, name, "/progress", self._say)

    def _say(self) -> bytes:
        return self.progress.canonical()
