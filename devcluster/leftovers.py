"""Ends and removes what a node leaves in the kernel, however it ended.

Nothing here trusts a record: containers are found by their cgroup, mounts by the table of mounts,
so a cluster whose launcher, kubelet and containerd were all killed goes away like any other.
"""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from devcluster import host
from devcluster.commands import DevclusterError, run
from devcluster.components import CGROUP
from devcluster.network import NETWORK
from devcluster.paths import State

SHIM_SOCKETS = Path("/run/containerd/s")
CNI_RESULTS = Path("/var/lib/cni/results")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins/kubelet.sock")
LOG_LINKS = Path("/var/log/containers")


def make_cgroups() -> None:
    """Makes the cgroup below which kubelet puts every pod."""
    for root in host.cgroup_roots():
        if (controllers := root / "cgroup.controllers").exists():
            _delegate(root, controllers.read_text().split())
        (root / CGROUP.strip("/")).mkdir(exist_ok=True)


def end_containers() -> None:
    """Kills every process of every pod and removes the cgroups.

    Raises:
        DevclusterError: A process does not go.
    """
    tops = [root / CGROUP.strip("/") for root in host.cgroup_roots()]
    deadline = time.monotonic() + 15
    while members := _members(tops):
        if time.monotonic() > deadline:
            raise DevclusterError(f"processes {sorted(members)} of pods do not end when killed")
        for pid in members:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)
    for top in tops:
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_cgroup(Path(folder))


def unmount(folders: Iterable[Path]) -> None:
    """Undoes every mount at or below some folders, the innermost first."""
    table = Path("/proc/self/mountinfo").read_text()
    for point in reversed(mounts_below(table, [str(folder) for folder in folders])):
        try:
            run(["umount", point], seconds=30)
        except DevclusterError:
            # Something still looks at it: it vanishes from the tree now and goes when that ends.
            run(["umount", "--lazy", point], seconds=30)


def mounts_below(mountinfo: str, folders: list[str]) -> list[str]:
    """Mount points at or below some folders, in the order they were mounted."""
    points = (line.split()[4] for line in mountinfo.splitlines())
    # The kernel writes blanks and the like as three octal digits.
    plain = (p.encode().decode("unicode_escape") if "\\" in p else p for p in points)
    return [p for p in plain if any(p == f or p.startswith(f"{f}/") for f in folders)]


def remove_outside_files(state: State, *, is_another_kubelets: bool) -> None:
    """Removes what containerd, kubelet and CNI write at fixed places outside the folder.

    Args:
        state: of the cluster.
        is_another_kubelets: whether a kubelet that is not the cluster's runs here too, which then
            keeps its socket for device plugins.
    """
    for address in (state.containerd / "state").glob("*/k8s.io/*/address"):
        socket = Path(address.read_text().strip().removeprefix("unix://"))
        if socket.parent == SHIM_SOCKETS:
            socket.unlink(missing_ok=True)
    for link in LOG_LINKS.iterdir() if LOG_LINKS.exists() else ():
        if link.is_symlink() and str(link.readlink()).startswith(f"{state.root}/"):
            link.unlink()
    for result in CNI_RESULTS.glob(f"{NETWORK}-*"):
        pod = result.name.removeprefix(f"{NETWORK}-").partition("-")[0]
        for file in CNI_RESULTS.glob(f"*-{pod}-*"):  # one more for the pod's loopback
            file.unlink()
    if not is_another_kubelets:
        DEVICE_PLUGINS.unlink(missing_ok=True)  # a kubelet that is ended leaves it behind
    for folder in (DEVICE_PLUGINS.parent, DEVICE_PLUGINS.parent.parent):
        with suppress(OSError):  # another kubelet's
            folder.rmdir()


def _members(tops: list[Path]) -> set[int]:
    files = (Path(folder) / "cgroup.procs" for top in tops for folder, _, _ in os.walk(top))
    found: set[int] = set()
    for file in files:
        try:
            found.update(int(word) for word in file.read_text().split())
        except OSError:
            continue  # the cgroup went meanwhile
    return found


def _remove_cgroup(folder: Path) -> None:
    for _ in range(50):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.1)  # the kernel lets go of the last process a moment after its end
        else:
            return
    raise DevclusterError(f"the cgroup {folder} cannot be removed: something is in it")


def _delegate(root: Path, controllers: list[str]) -> None:
    for name in controllers:
        try:
            (root / "cgroup.subtree_control").write_text(f"+{name}")
        except OSError:
            continue  # cannot be delegated here; kubelet names it if it cannot do without
