# ruff: noqa: INP001 - a program of its own inside an image
"""Tells Prometheus which pods to scrape: those annotated `prometheus.io/scrape: "true"`.

Debian builds Prometheus without its Kubernetes discovery, so this program stands beside it in the
pod and answers its HTTP discovery: each GET lists the cluster's pods anew. It uses the standard
library only and keeps nothing.
"""

import json
import re
import ssl
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PODS = "https://kubernetes.default.svc/api/v1/pods?resourceVersion=0"
PORT = 9091


def targets(pods: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pods to scrape, in the form of Prometheus' HTTP discovery.

    A pod takes part while it runs and has annotations `prometheus.io/scrape: "true"` and
    `prometheus.io/port`; `prometheus.io/path` defaults to `/metrics`. Each series gets the pod's
    name, namespace and labels.
    """
    found = []
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        wishes = metadata.get("annotations", {})
        port, address = wishes.get("prometheus.io/port"), status.get("podIP")
        wanted = wishes.get("prometheus.io/scrape") == "true" and port and address
        if not wanted or status.get("phase") != "Running":
            continue
        labels = {label_name(key): value for key, value in metadata.get("labels", {}).items()}
        labels |= {
            "namespace": metadata["namespace"],
            "pod": metadata["name"],
            "__metrics_path__": wishes.get("prometheus.io/path", "/metrics"),
        }
        found.append({"targets": [f"{address}:{port}"], "labels": labels})
    return found


def label_name(key: str) -> str:
    """A Kubernetes label's key as Prometheus can write it."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", key)


def list_pods() -> list[dict[str, Any]]:
    """All pods of the cluster, as the pod's own account may read them."""
    token = (ACCOUNT / "token").read_text()  # it is renewed while we run
    request = urllib.request.Request(PODS, headers={"Authorization": f"Bearer {token}"})
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, timeout=3, context=context) as answer:  # noqa: S310 - ours
        listed: list[dict[str, Any]] = json.load(answer)["items"]
        return listed


class Discovery(BaseHTTPRequestHandler):
    """Answers every GET with the targets of this moment."""

    def do_GET(self) -> None:
        """Lists the targets; 503 keeps those that Prometheus has."""
        try:
            content, code = json.dumps(targets(list_pods())).encode(), 200
        except OSError as error:
            content, code = str(error).encode(), 503
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Says nothing: it is asked every two seconds."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Discovery).serve_forever()
