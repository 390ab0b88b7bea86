"""Command lines and configuration files of the components."""

from pathlib import Path

import pytest

from devcluster import components
from devcluster.components import LOOPBACK, NODE_ADDRESS, PORT_NAMES, Settings
from devcluster.paths import State


def make_settings(address=LOOPBACK, audit=False):
    ports = {name: 40000 + number for number, name in enumerate(PORT_NAMES)}
    return Settings(
        state=State(Path("/state")),
        programs=Path("/programs"),
        address=address,
        ports=ports,
        audit=audit,
    )


def flags(component):
    return dict(word.removeprefix("--").split("=", 1) for word in component.argv[1:])


def everything(settings):
    node = components.kubelet(settings), components.kube_proxy(settings)
    return {c.name: c for c in (*components.control_plane(settings), *node)}


def test_each_component_is_the_program_of_its_name():
    for name, component in everything(make_settings()).items():
        assert component.argv[0] == f"/programs/{name}"


def test_no_two_servers_share_a_port():
    used = [
        value
        for component in everything(make_settings()).values()
        for flag, value in flags(component).items()
        if flag in {"secure-port", "listen-client-urls", "listen-peer-urls"}
        or flag.endswith("-bind-address")
    ]
    assert len(used) == len(set(used))


def test_the_control_plane_shape_listens_on_the_loopback_only():
    for component in components.control_plane(make_settings()):
        bound = flags(component).get("bind-address", LOOPBACK)
        assert bound == LOOPBACK, component.name
        assert f"//{LOOPBACK}:" in component.health


def test_in_the_full_shape_only_the_api_server_leaves_the_loopback():
    settings = make_settings(address=NODE_ADDRESS)
    for name, component in everything(settings).items():
        bound = flags(component).get("bind-address", LOOPBACK)
        assert bound == (NODE_ADDRESS if name == "kube-apiserver" else LOOPBACK), name
    assert settings.server.startswith(f"https://{NODE_ADDRESS}:")


@pytest.mark.parametrize(
    ("address", "reconciler"),
    [
        pytest.param(LOOPBACK, "none", id="without pods nobody looks up the kubernetes Service"),
        pytest.param(NODE_ADDRESS, "lease", id="pods find the API server by its Service"),
    ],
)
def test_the_api_server_announces_itself_where_there_are_pods(address, reconciler):
    server = components.kube_apiserver(make_settings(address=address))
    assert flags(server)["endpoint-reconciler-type"] == reconciler


def test_the_audit_log_is_written_only_when_asked_for():
    silent = components.kube_apiserver(make_settings())
    telling = components.kube_apiserver(make_settings(audit=True))
    assert not [flag for flag in flags(silent) if flag.startswith("audit")]
    assert flags(telling)["audit-log-path"] == "/state/logs/audit.log"


def test_kubelet_keeps_everything_in_the_clusters_folder():
    settings = make_settings(address=NODE_ADDRESS)
    config = components.render_kubelet_config(settings.state, settings.ports, "/etc/resolv.conf")
    paths = [config["podLogsDir"], config["volumePluginDir"], config["tlsCertFile"]]
    paths += [flags(components.kubelet(settings))["root-dir"]]
    assert all(path.startswith("/state/") for path in paths)
    assert config["cgroupRoot"] == components.CGROUP
    assert config["authentication"]["anonymous"] == {"enabled": False}
