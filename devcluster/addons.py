"""What runs in the cluster besides the user's own: DNS, the S3 server and Prometheus.

Pure functions from image names to manifests. The Services have fixed addresses, so that the same
URLs work from pods (by name or address) and from the machine (by address).
"""

import json
from typing import Any

from devcluster.components import DNS_SERVICE

NAMESPACE = "devcluster"
S3_ADDRESS = "10.96.0.74"
S3_PORT = 7480
S3_REGION = "us-east-1"
S3_BUCKET = "models"
PROMETHEUS_ADDRESS = "10.96.0.90"
PROMETHEUS_PORT = 9090
DISCOVERY_PORT = 9091
S3_URL = f"http://{S3_ADDRESS}:{S3_PORT}"
PROMETHEUS_URL = f"http://{PROMETHEUS_ADDRESS}:{PROMETHEUS_PORT}"
# Constants on purpose: a development cluster has no secrets.
S3_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "devcluster",
    "AWS_SECRET_ACCESS_KEY": "devcluster-secret",
}
ROLLOUTS = (("kube-system", "coredns"), (NAMESPACE, "s3"), (NAMESPACE, "prometheus"))

Manifest = dict[str, Any]


def render_dns(image: str, upstream: list[str]) -> list[Manifest]:
    """The cluster's DNS; names it does not know go to `upstream`, to nobody if that is empty."""
    forward = f"    forward . {' '.join(upstream[:3])}\n" if upstream else ""
    corefile = (
        ".:53 {\n    errors\n    health\n    ready\n"
        "    kubernetes cluster.local in-addr.arpa {\n        pods insecure\n    }\n"
        f"{forward}    cache 30\n}}\n"
    )
    rules = [
        _rule("", ["endpoints", "services", "pods", "namespaces"]),
        _rule("discovery.k8s.io", ["endpointslices"]),
    ]
    container = {
        "name": "coredns",
        "image": image,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "32Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    # `Default` gives the pod the machine's name servers: it cannot ask itself.
    spec = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    return [
        *_account("kube-system", "coredns", rules),
        _config_map("kube-system", "coredns", {"Corefile": corefile}),
        _deployment("kube-system", "coredns", spec),
        _service("kube-system", "kube-dns", "coredns", DNS_SERVICE, ports),
    ]


def render_namespace() -> Manifest:
    """The add-ons' namespace; the S3 server mounts a folder of the node."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    metadata = {"name": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def render_s3(image: str, volume: Manifest) -> list[Manifest]:
    """The S3 server, which keeps objects as files with extended attributes.

    Args:
        image: Its image.
        volume: Where the files lie, as the source of a pod's volume (a host path, an emptyDir).
    """
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3-credentials", "namespace": NAMESPACE},
        "type": "Opaque",
        "stringData": S3_CREDENTIALS,
    }
    container = {
        "name": "s3",
        "image": image,
        "args": ["--port", f":{S3_PORT}", "--region", S3_REGION, "posix", "/data"],
        "env": [
            _from_secret("ROOT_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            _from_secret("ROOT_SECRET_KEY", "AWS_SECRET_ACCESS_KEY"),
        ],
        "ports": [{"name": "s3", "containerPort": S3_PORT}],
        "readinessProbe": {"tcpSocket": {"port": S3_PORT}, "periodSeconds": 1},
        "resources": {"limits": {"memory": "1Gi"}, "requests": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    spec = {"containers": [container], "volumes": [{"name": "data", **volume}]}
    ports = [{"name": "s3", "port": S3_PORT}]
    return [
        secret,
        _deployment(NAMESPACE, "s3", spec),
        _service(NAMESPACE, "s3", "s3", S3_ADDRESS, ports),
    ]


def render_prometheus(image: str) -> list[Manifest]:
    """Prometheus, which scrapes every pod that asks for it by annotation, and its pod finder."""
    config = json.dumps(render_scrape_config(), indent=2)
    container = {
        "name": "prometheus",
        "image": image,
        "args": [
            "--config.file=/etc/prometheus/prometheus.yaml",
            "--storage.tsdb.path=/data",
            "--storage.tsdb.retention.time=6h",
            f"--web.listen-address=:{PROMETHEUS_PORT}",
        ],
        "ports": [{"name": "http", "containerPort": PROMETHEUS_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/-/ready", "port": PROMETHEUS_PORT},
            "periodSeconds": 1,
        },
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"memory": "64Mi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/data"},
        ],
    }
    finder = {
        "name": "pod-targets",
        "image": image,
        "command": ["python3", "/pod_targets.py"],
        "resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "16Mi"}},
    }
    spec = {
        "serviceAccountName": "prometheus",
        "securityContext": {"runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534},
        "containers": [container, finder],
        "volumes": [
            {"name": "config", "configMap": {"name": "prometheus"}},
            {"name": "data", "emptyDir": {}},
        ],
    }
    ports = [{"name": "http", "port": PROMETHEUS_PORT}]
    return [
        *_account(NAMESPACE, "prometheus", [_rule("", ["pods"])]),
        _config_map(NAMESPACE, "prometheus", {"prometheus.yaml": config}),
        _deployment(NAMESPACE, "prometheus", spec),
        _service(NAMESPACE, "prometheus", "prometheus", PROMETHEUS_ADDRESS, ports),
    ]


def render_scrape_config() -> Manifest:
    """Prometheus' configuration: annotated pods, found within 2 s, scraped every 5 s."""
    discovery = {"url": f"http://127.0.0.1:{DISCOVERY_PORT}/", "refresh_interval": "2s"}
    job = {"job_name": "pods", "http_sd_configs": [discovery]}
    return {"global": {"scrape_interval": "5s", "scrape_timeout": "4s"}, "scrape_configs": [job]}


def _deployment(namespace: str, name: str, spec: Manifest) -> Manifest:
    labels = {"app.kubernetes.io/name": name}
    # One at a time, never two: the S3 server's folder and Prometheus' data have one owner.
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 5, **spec},
            },
        },
    }


def _service(namespace: str, name: str, app: str, address: str, ports: list[Manifest]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": address,
            "selector": {"app.kubernetes.io/name": app},
            "ports": ports,
        },
    }


def _config_map(namespace: str, name: str, data: dict[str, str]) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _account(namespace: str, name: str, rules: list[Manifest]) -> list[Manifest]:
    role = f"devcluster:{name}"
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace},
        },
        {**rbac, "kind": "ClusterRole", "metadata": {"name": role}, "rules": rules},
        {
            **rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def _rule(group: str, resources: list[str]) -> Manifest:
    return {"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]}


def _from_secret(variable: str, key: str) -> Manifest:
    reference = {"name": "s3-credentials", "key": key}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}
