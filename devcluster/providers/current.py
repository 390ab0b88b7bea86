"""A cluster that is there already and belongs to somebody else: used, never made or removed."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from devcluster.commands import DevclusterError, run
from devcluster.images import Build
from devcluster.providers import Status


class CurrentProvider:
    """The cluster of the current kubectl context."""

    def up(self, meanwhile: Sequence[Build] = ()) -> Status:
        """Checks that it answers; images cannot be loaded."""
        del meanwhile
        status = self.status()
        if not status.running:
            raise DevclusterError(
                f"the cluster of {status.kubeconfig} does not answer; "
                "set KUBECONFIG, or unset MILLSTREAM_CLUSTER to get one made"
            )
        return status

    def build(self) -> None:
        """There is nothing to prepare."""

    def down(self, *, purge_images: bool) -> None:
        """Leaves it alone: it is not ours to remove."""

    def status(self) -> Status:
        """Where it is and whether it answers."""
        kubeconfig = os.environ.get("KUBECONFIG", str(Path.home() / ".kube" / "config"))
        if shutil.which("kubectl") is None:
            raise DevclusterError("kubectl is not installed; `python -m devcluster tools` has one")
        try:
            command = ["kubectl", "--request-timeout=10s", "config", "view", "--minify"]
            view = json.loads(run([*command, "--output", "json"], seconds=20))
            server = view["clusters"][0]["cluster"]["server"]
            run(["kubectl", "--request-timeout=10s", "get", "--raw", "/readyz"], seconds=20)
        except DevclusterError:
            return Status("current", "full", running=False, kubeconfig=kubeconfig)
        return Status("current", "full", running=True, kubeconfig=kubeconfig, server=server)

    def load_images(self, builds: Sequence[Build]) -> list[str]:
        """Cannot: how that cluster gets images is its owner's affair."""
        raise DevclusterError(
            f"push {builds[0].tag} to a registry that this cluster pulls from; "
            "only a cluster that was made here can be given images directly"
        )

    def log(self, component: str) -> Path:
        """Cannot: its logs are elsewhere."""
        raise DevclusterError(f"the log of {component} is with the cluster's owner")
