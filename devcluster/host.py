"""What the machine must have before the full shape can start, and getting it where we may.

On Debian and Ubuntu, as root, missing packages are installed by name after saying which. On any
other machine the one command that is missing is printed and nothing is touched.
"""

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from devcluster import debian, network, processes
from devcluster.commands import DevclusterError, run
from devcluster.paths import State
from devcluster.progress import Progress

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
SOCKET_PATH_LIMIT = 107
SETUP = "the full shape of the local cluster"


@dataclass(frozen=True)
class Need:
    """A program the launcher calls and the Debian package that holds it."""

    program: str
    package: str


NEEDS = (
    Need("containerd", "containerd"),
    Need("ctr", "containerd"),
    Need("runc", "runc"),
    Need("buildah", "buildah"),
    Need("skopeo", "skopeo"),
    Need("debootstrap", "debootstrap"),
    Need("iptables-save", "iptables"),
    Need("conntrack", "conntrack"),
    Need("ip", "iproute2"),
    Need("mount", "mount"),
    Need("tar", "tar"),
)
CNI_PACKAGE = "containernetworking-plugins"
# On Ubuntu debootstrap needs Debian's signing keys to make a Debian root.
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def find_cni() -> Path | None:
    """The folder of the pod network's plugins."""
    return next((folder for folder in CNI_FOLDERS if (folder / "ptp").exists()), None)


def missing_packages(programs: Collection[str], *, has_cni: bool, has_keyring: bool) -> list[str]:
    """Debian packages to install, given the programs that were found."""
    packages = {need.package for need in NEEDS if need.program not in programs}
    if not has_cni:
        packages.add(CNI_PACKAGE)
    if not has_keyring:
        packages.add("debian-archive-keyring")
    return sorted(packages)


def obstacle() -> str | None:
    """Why the full shape cannot run here whatever is installed; none if it can.

    Tests that need it are skipped with this reason.
    """
    if os.geteuid() != 0:
        return f"{SETUP} needs root: run it with sudo, or use `--shape control-plane`"
    if "overlay" not in Path("/proc/filesystems").read_text() and not _loads("overlay"):
        return f"{SETUP} needs overlayfs, which this kernel does not have"
    if not cgroup_roots():
        return f"{SETUP} needs cgroups mounted under /sys/fs/cgroup"
    return None


def cgroup_roots() -> list[Path]:
    """Mount points of all cgroup hierarchies, of version 1 and 2."""
    rows = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    return [Path(row[1]) for row in rows if row[2] in {"cgroup", "cgroup2"}]


def prepare(state: State, progress: Progress) -> Path:
    """Installs what is missing and checks the rest; returns the folder of the network plugins.

    Raises:
        DevclusterError: Something is missing that it may not install, or in the way.
    """
    if reason := obstacle():
        raise DevclusterError(reason)
    if reason := too_long(state):
        raise DevclusterError(reason)
    missing = missing_packages(
        [need.program for need in NEEDS if shutil.which(need.program)],
        has_cni=find_cni() is not None,
        has_keyring=KEYRING.exists(),
    )
    if missing:
        _install(missing, progress)
    cni = find_cni()
    if cni is None:
        raise DevclusterError(f"{CNI_PACKAGE} is installed but holds no plugin `ptp`")
    foreign = processes.find_foreign(("kubelet", "kube-proxy", "k3s", "k3s-server"), state.root)
    if foreign:
        name, pid = foreign[0]
        raise DevclusterError(
            f"another Kubernetes node runs on this machine ({name}, process {pid}); "
            "end it, or use it with MILLSTREAM_CLUSTER=current"
        )
    if overlap := network.find_overlap():
        raise DevclusterError(overlap)
    return cni


def too_long(state: State) -> str | None:
    """Why the cluster's folder cannot hold its sockets; none if it can."""
    longest = state.kubelet / "root" / "device-plugins" / "kubelet.sock"
    if len(str(longest)) <= SOCKET_PATH_LIMIT:
        return None
    return f"{longest} is too long a path for a socket: move the checkout to a shorter one"


def _install(packages: list[str], progress: Progress) -> None:
    if not debian.is_here():
        raise DevclusterError(
            f"{SETUP} needs what Debian calls {' '.join(packages)}; install these and try again"
        )
    progress.say(f"installing Debian packages: {' '.join(packages)}")
    with progress.step("installing packages", 40):
        debian.install(packages)


def _loads(module: str) -> bool:
    try:
        run(["modprobe", module], seconds=30)
    except DevclusterError:
        return False
    return True
