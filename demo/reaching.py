"""The way from this machine to a Service of the cluster.

On the local cluster a Service's own address answers here too. Any other cluster keeps its
addresses to itself, so kubectl forwards a port, for as long as this process lives.
"""

from __future__ import annotations

import atexit
import json
import re
import subprocess
from typing import TYPE_CHECKING, Final

from demo.commands import InstallationError, run

if TYPE_CHECKING:
    from collections.abc import Mapping

FORWARDED: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


def service_url(
    environment: Mapping[str, str], namespace: str, name: str, *, is_local: bool
) -> str:
    """A URL of a Service's first port that works from here.

    Args:
        environment: with kubectl on the path and KUBECONFIG.
        namespace: of the Service.
        name: of the Service.
        is_local: whether the cluster's addresses are reached from this machine.

    Raises:
        InstallationError: there is no such Service, or its port cannot be forwarded.
    """
    found = json.loads(
        run(["kubectl", "-n", namespace, "get", "service", name, "-o", "json"], environment)
    )
    port = found["spec"]["ports"][0]["port"]
    if is_local:
        return f"http://{found['spec']['clusterIP']}:{port}"
    return f"http://127.0.0.1:{_forward(environment, namespace, name, port)}"


def _forward(environment: Mapping[str, str], namespace: str, name: str, port: int) -> int:
    forwarder = subprocess.Popen(
        ["kubectl", "-n", namespace, "port-forward", f"service/{name}", f":{port}"],
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    atexit.register(forwarder.kill)
    assert forwarder.stdout is not None
    line = forwarder.stdout.readline()
    said = FORWARDED.match(line)
    if said is None:
        raise InstallationError(f"kubectl does not forward a port to {namespace}/{name}: {line}")
    return int(said[1])
