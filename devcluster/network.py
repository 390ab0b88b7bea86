"""The pod network, and undoing everything that it and Kubernetes leave in the kernel.

Each pod gets a pair of virtual interfaces and a route (the `ptp` plugin). There is no bridge
between pods on purpose: on a bridge the answer of one pod to another bypasses the machine's
address translation unless a kernel module is loaded and a switch set, and Services then work from
some places and not from others. One interface of our own, `millstream0`, holds the node's address
and the route for Services, so that the cluster does not depend on the machine's network, or on
its having any.
"""

import ipaddress
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from devcluster.commands import DevclusterError, run
from devcluster.components import NODE_ADDRESS, POD_RANGE, SERVICE_RANGE
from devcluster.paths import State

INTERFACE = "millstream0"
NETWORK = "millstream-devcluster"
# Rules of ours, found again by their comment.
RULES: tuple[tuple[str, str], ...] = (
    # Pods reach the outside under the machine's address, each other and Services as themselves.
    ("nat", f"POSTROUTING -s {POD_RANGE} ! -d {POD_RANGE} ! -o {INTERFACE} -j MASQUERADE"),
    # A machine that also runs Docker drops what it forwards unless told otherwise.
    ("filter", f"FORWARD -s {POD_RANGE} -j ACCEPT"),
    ("filter", f"FORWARD -d {POD_RANGE} -j ACCEPT"),
)
TABLES = ("nat", "filter", "mangle")


def render_cni(state: State) -> dict[str, Any]:
    """The network's configuration, with its address book in the cluster's folder."""
    addresses = {
        "type": "host-local",
        "dataDir": str(state.cni / "addresses"),
        "ranges": [[{"subnet": POD_RANGE, "gateway": NODE_ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": NETWORK, "plugins": [plugin]}


def nameservers(resolv_conf: str) -> list[str]:
    """Name servers that pods can use too: those on the loopback are the machine's own."""
    listed = re.findall(r"^\s*nameserver\s+(\S+)", resolv_conf, re.MULTILINE)
    return [address for address in listed if not _is_loopback(address)]


def find_resolv_conf() -> Path:
    """The file that names the outside name servers, past a local resolver such as systemd's."""
    upstream = Path("/run/systemd/resolve/resolv.conf")
    return upstream if upstream.exists() else Path("/etc/resolv.conf")


def find_overlap() -> str | None:
    """Why the address ranges cannot be used here; none if they can."""
    routes = json.loads(
        run(["ip", "-json", "-4", "route", "show", "table", "all"], seconds=30) or "[]"
    )
    return decide_overlap(
        (route["dst"], route.get("dev", "")) for route in routes if route.get("type") != "broadcast"
    )


def decide_overlap(routes: Iterable[tuple[str, str]]) -> str | None:
    """Why the address ranges collide with the machine's routes; none if they do not.

    Args:
        routes: Destination and interface of each route.
    """
    ours = [ipaddress.ip_network(range_) for range_ in (POD_RANGE, SERVICE_RANGE)]
    for destination, device in routes:
        if destination == "default" or device == INTERFACE or device.startswith("veth"):
            continue
        network = ipaddress.ip_network(destination, strict=False)
        for taken in ours:
            if network.prefixlen and network.overlaps(taken):
                return f"the machine routes {destination} to {device}, which the cluster needs"
    return None


def bring_up(state: State) -> None:
    """Makes the interface, the Service route and the rules; fine if they are there."""
    configuration = state.cni / "conf" / "10-millstream.conflist"
    configuration.parent.mkdir(parents=True, exist_ok=True)
    configuration.write_text(json.dumps(render_cni(state), indent=2))
    if not Path(f"/sys/class/net/{INTERFACE}").exists():
        # Only an address holder; a bridge because not every kernel has the `dummy` type.
        run(["ip", "link", "add", INTERFACE, "type", "bridge"], seconds=10)
    run(["ip", "address", "replace", f"{NODE_ADDRESS}/32", "dev", INTERFACE], seconds=10)
    run(["ip", "link", "set", INTERFACE, "up"], seconds=10)
    source = ["dev", INTERFACE, "src", NODE_ADDRESS]
    run(["ip", "route", "replace", SERVICE_RANGE, *source], seconds=10)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for table, rule in RULES:
        marked = [*rule.split(), "-m", "comment", "--comment", NETWORK]
        if not _rule_exists(table, marked):
            run(["iptables", "-w", "-t", table, "-I", *marked], seconds=30)


def remove(*, keep_kubernetes_chains: bool) -> None:
    """Removes the interfaces, rules and chains, ours and those of kube-proxy and kubelet.

    Args:
        keep_kubernetes_chains: Whether another node on this machine uses the latter.
    """
    for interface in _find_interfaces():
        try:
            run(["ip", "link", "delete", interface], seconds=10)
        except DevclusterError:
            # A cable goes with its pod's network namespace, which the kernel removes when it likes.
            if Path(f"/sys/class/net/{interface}").exists():
                raise
    for family in ("iptables", "ip6tables"):
        if shutil.which(f"{family}-save") is None:
            continue
        for table in TABLES:
            try:
                saved = run([f"{family}-save", "-t", table], seconds=30)
            except DevclusterError:
                continue  # this kernel has no such table, so nothing of ours is in it
            script = cleanup_script(saved, keep_kubernetes_chains=keep_kubernetes_chains)
            if script:
                run(
                    [f"{family}-restore", "--noflush", "-w", "10"], seconds=60, feed=script.encode()
                )


def cleanup_script(saved: str, *, keep_kubernetes_chains: bool) -> str:
    """What to feed to `iptables-restore --noflush` to undo the cluster's part of one table.

    Args:
        saved: The table as `iptables-save` prints it.
        keep_kubernetes_chains: Whether to leave the chains of kube-proxy and kubelet.

    Returns:
        The script, empty if there is nothing to undo.
    """
    table = next((line for line in saved.splitlines() if line.startswith("*")), "")
    chains = [] if keep_kubernetes_chains else re.findall(r"^:(KUBE-\S+) ", saved, re.MULTILINE)
    doomed = set(chains)
    rules = []
    for line in saved.splitlines():
        found = re.match(r"-A (\S+) ", line)
        if found is None or found[1] in doomed:
            continue  # its chain goes as a whole
        target = re.search(r" -[jg] (\S+)", line)
        ours = f"--comment {NETWORK} " in f"{line} " or f'--comment "{NETWORK}"' in line
        if ours or (target and target[1] in doomed):
            rules.append(line.replace("-A ", "-D ", 1))
    if not rules and not chains:
        return ""
    # A chain named with a colon is created empty or, if there, emptied.
    flushed = [f":{chain} - [0:0]" for chain in chains]
    removed = [f"-X {chain}" for chain in chains]
    return "\n".join([table, *flushed, *rules, *removed, "COMMIT", ""])


def _find_interfaces() -> list[str]:
    """What bears the node's address: the holder, and the machine's end of each pod's cable.

    The latter are there as long as something holds the pods' network namespaces: the mounts of a
    checkout whose cluster was killed do, and its pods would go on answering at their addresses.
    """
    bearing = ["address", "show", "to", f"{NODE_ADDRESS}/32"]
    found = json.loads(run(["ip", "-json", "-4", *bearing], seconds=30) or "[]")
    held = [entry["ifname"] for entry in found if "ifname" in entry]
    if INTERFACE not in held and Path(f"/sys/class/net/{INTERFACE}").exists():
        held.append(INTERFACE)  # it was made and had no address yet
    return held


def _rule_exists(table: str, rule: list[str]) -> bool:
    try:
        run(["iptables", "-w", "-t", table, "-C", *rule], seconds=30)
    except DevclusterError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return True  # not an address: of no use to a pod
