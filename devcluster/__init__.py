"""The local Kubernetes cluster of the demo and the tests, from packages alone. See README.md."""

from devcluster.commands import DevclusterError
from devcluster.controlplane import Cluster, control_plane

__all__ = ["Cluster", "DevclusterError", "control_plane"]
