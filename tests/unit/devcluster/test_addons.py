"""Manifests of the add-ons, and which pods Prometheus scrapes."""

import importlib.util
import ipaddress

import pytest

from devcluster import addons, components
from devcluster.paths import SOURCES


def load_pod_targets():
    path = SOURCES / "images" / "prometheus" / "pod_targets.py"
    spec = importlib.util.spec_from_file_location("pod_targets", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pod_targets = load_pod_targets()


def make_pod(phase="Running", address="10.244.0.9", labels=None, **annotations):
    wishes = {f"prometheus.io/{key}": value for key, value in annotations.items()}
    metadata = {"name": "web-0", "namespace": "shop", "labels": labels or {}, "annotations": wishes}
    return {"metadata": metadata, "status": {"phase": phase, "podIP": address}}


def every_manifest(upstream=("192.0.2.53",)):
    return [
        *addons.render_dns("dns:1", list(upstream)),
        addons.render_namespace(),
        *addons.render_s3("s3:1", {"emptyDir": {}}),
        *addons.render_prometheus("prometheus:1"),
    ]


def of_kind(kind):
    return {m["metadata"]["name"]: m for m in every_manifest() if m["kind"] == kind}


def test_services_have_fixed_addresses_of_the_range_kept_for_them():
    services = of_kind("Service")
    addresses = [ipaddress.ip_address(s["spec"]["clusterIP"]) for s in services.values()]
    # The API server hands out addresses above the first 256 by itself.
    reserved = next(ipaddress.ip_network(components.SERVICE_RANGE).subnets(new_prefix=24))
    assert all(address in reserved for address in addresses)
    assert len(set(addresses)) == len(addresses)
    assert services["s3"]["spec"]["clusterIP"] in addons.S3_URL
    assert services["prometheus"]["spec"]["clusterIP"] in addons.PROMETHEUS_URL


def test_each_service_selects_the_pods_of_a_deployment():
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in of_kind("Deployment").values()]
    for service in of_kind("Service").values():
        assert service["spec"]["selector"] in labels


def test_the_wait_covers_every_deployment():
    deployed = {(d["metadata"]["namespace"], name) for name, d in of_kind("Deployment").items()}
    assert deployed == set(addons.ROLLOUTS)


def test_the_s3_server_takes_its_credentials_from_the_secret_that_clients_use():
    secret = of_kind("Secret")["s3-credentials"]
    (container,) = of_kind("Deployment")["s3"]["spec"]["template"]["spec"]["containers"]
    asked = {e["name"]: e["valueFrom"]["secretKeyRef"]["key"] for e in container["env"]}
    assert asked == {
        "ROOT_ACCESS_KEY": "AWS_ACCESS_KEY_ID",
        "ROOT_SECRET_KEY": "AWS_SECRET_ACCESS_KEY",
    }
    assert set(asked.values()) == set(secret["stringData"])


@pytest.mark.parametrize(
    ("upstream", "forward"),
    [
        pytest.param([], None, id="a machine without name servers: only the cluster's names"),
        pytest.param(["192.0.2.1"], "forward . 192.0.2.1", id="one"),
        pytest.param(["a", "b", "c", "d"], "forward . a b c", id="at most three"),
    ],
)
def test_dns_forwards_only_where_there_is_somebody_to_ask(upstream, forward):
    config = next(m for m in addons.render_dns("dns:1", upstream) if m["kind"] == "ConfigMap")
    corefile = config["data"]["Corefile"]
    forwards = [line.strip() for line in corefile.splitlines() if "forward" in line]
    assert forwards == ([forward] if forward else [])


@pytest.mark.parametrize(
    ("pod", "target", "path"),
    [
        pytest.param(make_pod(scrape="true", port="80"), "10.244.0.9:80", "/metrics", id="asked"),
        pytest.param(
            make_pod(scrape="true", port="80", path="/m"), "10.244.0.9:80", "/m", id="its own path"
        ),
        pytest.param(make_pod(port="80"), None, None, id="did not ask"),
        pytest.param(make_pod(scrape="false", port="80"), None, None, id="asked not to"),
        pytest.param(make_pod(scrape="true"), None, None, id="no port"),
        pytest.param(make_pod("Pending", scrape="true", port="80"), None, None, id="not running"),
        pytest.param(make_pod(address=None, scrape="true", port="80"), None, None, id="no address"),
    ],
)
def test_prometheus_scrapes_the_pods_that_ask(pod, target, path):
    found = pod_targets.targets([pod])
    assert [entry["targets"] for entry in found] == ([[target]] if target else [])
    assert [entry["labels"]["__metrics_path__"] for entry in found] == ([path] if path else [])


def test_series_carry_the_pods_name_namespace_and_labels():
    pod = make_pod(labels={"app.kubernetes.io/name": "web", "pod": "liar"}, scrape="true", port="1")
    (entry,) = pod_targets.targets([pod])
    assert entry["labels"]["app_kubernetes_io_name"] == "web"
    assert entry["labels"]["namespace"] == "shop"
    assert entry["labels"]["pod"] == "web-0"


def test_a_pod_without_labels_or_annotations_is_no_error():
    assert pod_targets.targets([{"metadata": {"name": "a", "namespace": "b"}}]) == []
