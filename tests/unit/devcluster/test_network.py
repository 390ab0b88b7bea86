"""What the cluster adds to the machine's network, and that all of it is taken away again."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from devcluster import network
from devcluster.commands import DevclusterError
from devcluster.components import NODE_ADDRESS, POD_RANGE
from devcluster.network import cleanup_script, decide_overlap, nameservers, render_cni
from devcluster.paths import State

NAT = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-ABC - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.244.0.0/16 -m comment --comment millstream-devcluster -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.10/32 -j KUBE-SVC-ABC
-A KUBE-SVC-ABC -j DNAT --to-destination 10.244.0.2:53
COMMIT
"""


def test_cleanup_removes_our_rules_and_kubernetes_chains_and_nothing_else():
    script = cleanup_script(NAT, keep_kubernetes_chains=False).splitlines()
    assert script == [
        "*nat",
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-SVC-ABC - [0:0]",
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-D POSTROUTING -s 10.244.0.0/16 -m comment --comment millstream-devcluster -j MASQUERADE",
        "-X KUBE-SERVICES",
        "-X KUBE-SVC-ABC",
        "COMMIT",
    ]


def test_cleanup_leaves_the_chains_of_another_node_on_the_machine():
    script = cleanup_script(NAT, keep_kubernetes_chains=True)
    assert "KUBE" not in script
    assert "millstream-devcluster" in script


@pytest.mark.parametrize(
    "saved",
    [
        pytest.param("", id="no table"),
        pytest.param("*nat\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n", id="an untouched table"),
        pytest.param(
            "*nat\n:DOCKER - [0:0]\n-A DOCKER -j RETURN\nCOMMIT\n", id="somebody else's rules"
        ),
    ],
)
def test_cleanup_has_nothing_to_do(saved):
    assert cleanup_script(saved, keep_kubernetes_chains=False) == ""


@pytest.mark.parametrize(
    ("destination", "device", "collides"),
    [
        pytest.param("default", "eth0", False, id="the default route covers everything anyway"),
        pytest.param("192.168.1.0/24", "eth0", False, id="the machine's own network"),
        pytest.param("10.244.3.0/24", "tun0", True, id="part of the pods' range in a tunnel"),
        pytest.param("10.0.0.0/8", "tun0", True, id="a company network that holds our ranges"),
        pytest.param("10.96.0.1", "eth0", True, id="one address of the Services"),
        pytest.param("10.96.0.0/16", network.INTERFACE, False, id="our own route"),
        pytest.param("10.244.0.7", "veth1234", False, id="a pod of ours"),
    ],
)
def test_ranges_in_use_are_noticed(destination, device, collides):
    complaint = decide_overlap([(destination, device)])
    assert bool(complaint) == collides
    if complaint:
        assert destination in complaint
        assert device in complaint


@pytest.mark.parametrize(
    ("resolv_conf", "usable"),
    [
        pytest.param("nameserver 192.0.2.53\n", ["192.0.2.53"], id="a plain one"),
        pytest.param("nameserver 127.0.0.53\n", [], id="the machine's own resolver"),
        pytest.param("nameserver ::1\nnameserver fd00::53\n", ["fd00::53"], id="IPv6"),
        pytest.param("# nameserver 192.0.2.1\nsearch example.org\n", [], id="none"),
        pytest.param("nameserver resolver.example\n", [], id="not an address"),
    ],
)
def test_pods_get_only_name_servers_they_can_reach(resolv_conf, usable):
    assert nameservers(resolv_conf) == usable


def test_the_pod_network_keeps_its_address_book_in_the_clusters_folder():
    (plugin,) = render_cni(State(Path("/state")))["plugins"]
    assert plugin["ipam"]["dataDir"] == "/state/cni/addresses"
    assert plugin["ipam"]["ranges"] == [[{"subnet": POD_RANGE, "gateway": NODE_ADDRESS}]]


@pytest.mark.parametrize(
    ("interface", "fails"),
    [
        pytest.param("gone-meanwhile", False, id="it went with its pod"),
        pytest.param("lo", True, id="it is still there"),
    ],
)
def test_a_cable_that_cannot_be_removed(monkeypatch, interface, fails):
    def run(command, **_):
        if "delete" in command and interface in command:
            raise DevclusterError("no")
        return json.dumps([{"ifname": interface}]) if "address" in command else ""

    monkeypatch.setattr(network, "run", run)
    with pytest.raises(DevclusterError) if fails else nullcontext():
        network.remove(keep_kubernetes_chains=True)
