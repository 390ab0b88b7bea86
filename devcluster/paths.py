"""Where the local cluster keeps things: a folder that goes with it, a cache that stays.

`build/devcluster/<shape>/` in the checkout holds state, logs and the kubeconfig of a running
cluster; `down` removes it. The cache holds what is slow to make and the same for every checkout:
compiled binaries, image layers, containerd's images.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCES = Path(__file__).resolve().parent


@dataclass(frozen=True)
class State:
    """The folder of one cluster; everything in it may go when the cluster goes."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Certificate authority, certificates and the components' kubeconfigs."""
        return self.root / "pki"

    @property
    def made(self) -> Path:
        """What the cluster was made with."""
        return self.root / "made.json"

    @property
    def etcd(self) -> Path:
        """The API server's data."""
        return self.root / "etcd"

    @property
    def containerd(self) -> Path:
        """Configuration and run-time state of containerd; its images are in the cache."""
        return self.root / "containerd"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.containerd / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        """Configuration of kubelet and the pods' volumes."""
        return self.root / "kubelet"

    @property
    def cni(self) -> Path:
        """The pod network's configuration and address book."""
        return self.root / "cni"

    @property
    def pod_logs(self) -> Path:
        """What containers print."""
        return self.root / "pod-logs"

    @property
    def s3(self) -> Path:
        """The S3 server's objects."""
        return self.root / "s3"

    def log(self, component: str) -> Path:
        """The log of one component of the cluster."""
        return self.root / "logs" / f"{component}.log"


def state_of(shape: str) -> State:
    """The folder of this checkout's cluster of a shape."""
    return State(CHECKOUT / "build" / "devcluster" / shape)


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """`$MILLSTREAM_CACHE`, else `millstream` in the user's cache folder."""
    if chosen := environ.get("MILLSTREAM_CACHE"):
        return Path(chosen).absolute()
    base = environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/")) / ".cache"
    return Path(base).absolute() / "millstream"
