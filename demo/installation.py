"""Cluster, images, chart and examples: what a person would type, typed for them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo import reaching
from demo.commands import ROOT, InstallationError, run
from millstream_api.settings import StoreSettings
from millstream_core.store import S3ObjectStore

NAMESPACE: Final = "shop"
SYSTEM_NAMESPACE: Final = "millstream-system"
PROGRAMS: Final = ("trainer", "serving", "operator")
BUCKET: Final = "models"
SECRET: Final = "s3-credentials"  # noqa: S105 - its name


@dataclass(frozen=True)
class Installation:
    """A cluster with everything on it."""

    kubeconfig: Path
    environment: dict[str, str]  # with kubectl and helm on the path
    is_local: bool  # its addresses are reached from this machine
    s3_url: str
    access_key: str
    secret_key: str

    def objects(self) -> S3ObjectStore:
        """The bucket of the models, as reached from here."""
        where = StoreSettings(endpoint=self.s3_url, bucket=BUCKET)
        return S3ObjectStore(where, access_key=self.access_key, secret_key=self.secret_key)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed."""
        return run(["kubectl", *words], self.environment, stdin=stdin)

    def service_url(self, namespace: str, name: str) -> str:
        """Where a Service is reached from this machine."""
        return reaching.service_url(self.environment, namespace, name, is_local=self.is_local)


def bring_up_cluster() -> Installation:
    """Start the local cluster, or find it running."""
    devcluster("up", *(f"--image={built}" for built in images()), quiet=False)
    status: dict[str, Any] = json.loads(devcluster("status", "--json"))
    environment = os.environ | {
        "KUBECONFIG": status["kubeconfig"],
        "PATH": f"{devcluster('tools').strip()}{os.pathsep}{os.environ['PATH']}",
    }
    secret = json.loads(
        run(["kubectl", "-n", "devcluster", "get", "secret", SECRET, "-o", "json"], environment)
    )
    is_local = status["provider"] == "own"
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    return Installation(
        kubeconfig=Path(status["kubeconfig"]),
        environment=environment,
        is_local=is_local,
        s3_url=reaching.service_url(environment, "devcluster", "s3", is_local=is_local),
        access_key=keys["AWS_ACCESS_KEY_ID"],
        secret_key=keys["AWS_SECRET_ACCESS_KEY"],
    )


def load_images() -> None:
    """Build the three images from this checkout and load them into the cluster."""
    devcluster("load-images", *images(), quiet=False)


def image(program: str) -> str:
    """The name of a program's image in the cluster."""
    return f"localhost/millstream-{program}:demo"


def images() -> list[str]:
    """Each image and where it is described, the largest first."""
    return [f"{image(program)}=images/{program}/Containerfile" for program in PROGRAMS]


def start_afresh(installation: Installation, namespace: str, *models: str) -> None:
    """Remove what an earlier run left: its objects and the versions of its models."""
    installation.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=true")
    objects = installation.objects()
    for model in models:
        for listed in list(objects.list(f"{model}/")):
            objects.delete(listed.key)


def install_chart(installation: Installation) -> None:
    """`helm install`, or upgrade, and wait until the operator is ready."""
    names = {"operator": "operator", "serving": "server", "trainer": "trainer"}
    values = [f"images.{names[program]}={image(program)}" for program in PROGRAMS]
    words = ["helm", "upgrade", "--install", "millstream", str(ROOT / "charts" / "millstream")]
    words += ["--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s"]
    # An image of the same name may hold newer code: pods are made anew for it.
    values.append(f"podAnnotations.installed-at={time.time_ns()}")
    run([*words, "--set-string", ",".join(values)], installation.environment)


def apply_examples(installation: Installation, namespace: str, *examples: str) -> None:
    """A namespace that enforces the restricted standard, the credentials, the examples."""
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace},
        "stringData": {
            "AWS_ACCESS_KEY_ID": installation.access_key,
            "AWS_SECRET_ACCESS_KEY": installation.secret_key,
        },
    }
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(space))
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    for example in examples:
        installation.kubectl("-n", namespace, "apply", "-f", str(ROOT / "examples" / example))


def devcluster(*words: str, quiet: bool = True) -> str:
    """Run the cluster's launcher; its progress goes to the terminal unless quiet."""
    command = [sys.executable, "-m", "devcluster", *words]
    if quiet:
        return run(command, dict(os.environ))
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise InstallationError(f"python -m devcluster {' '.join(words)} failed")
    return ""
