"""Which cluster the demo and the tests run on, behind one seam.

`own` is this project's (`devcluster.full`); `kind` is used where Docker and kind work; `current`
is whatever KUBECONFIG names. `choose` decides, the three modules beside it do.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from devcluster.commands import DevclusterError, run
from devcluster.images import Build
from devcluster.progress import Progress


@dataclass(frozen=True)
class Status:
    """What `status` prints; a URL is empty where the provider has no such add-on."""

    provider: str
    shape: str
    running: bool
    kubeconfig: str = ""
    server: str = ""
    s3: str = ""
    prometheus: str = ""
    components: Mapping[str, int | None] | None = None
    """Process id of each component, none for one that should run and does not answer."""
    memory_bytes: int = 0
    """Resident memory of the cluster's own processes, without pods."""

    def as_json(self) -> str:
        """The status for programs."""
        return json.dumps(asdict(self), indent=2)


class Provider(Protocol):
    """A source of a cluster."""

    def up(self, meanwhile: Sequence[Build] = ()) -> Status:
        """Makes the cluster ready, whatever state it is in.

        Args:
            meanwhile: Images that will be loaded; a provider may build them while it waits.
        """

    def build(self) -> None:
        """Prepares everything slow that `up` needs, without starting anything."""

    def down(self, *, purge_images: bool) -> None:
        """Removes the cluster; fine if there is none."""

    def status(self) -> Status:
        """What is there now."""

    def load_images(self, builds: Sequence[Build]) -> list[str]:
        """Builds images, makes them known to the cluster; returns a sentence about each."""

    def log(self, component: str) -> Path:
        """The log file of a component."""


@dataclass(frozen=True)
class Choice:
    """A provider's name and why it is that one."""

    name: str
    reason: str


def choose(wish: str, *, docker_and_kind_work: bool) -> Choice:
    """Decides which provider is used.

    Args:
        wish: The value of MILLSTREAM_CLUSTER, empty if unset.
        docker_and_kind_work: Whether `docker info` and `kind version` succeed.

    Raises:
        DevclusterError: The wish is none of the known ones.
    """
    if wish in {"current", "kind", "own"}:
        return Choice(wish, f"MILLSTREAM_CLUSTER={wish}")
    if wish:
        raise DevclusterError(f"MILLSTREAM_CLUSTER={wish} is none of current, kind, own")
    if docker_and_kind_work:
        return Choice("kind", "Docker and kind work here")
    return Choice("own", "no Docker with kind here")


def docker_and_kind_work() -> bool:
    """Whether both answer."""
    if not (shutil.which("docker") and shutil.which("kind")):
        return False
    try:
        run(["docker", "info"], seconds=20)
        run(["kind", "version"], seconds=20)
    except DevclusterError:
        return False
    return True


def chosen() -> Choice:
    """The choice for this machine and environment.

    Raises:
        DevclusterError: MILLSTREAM_CLUSTER names no provider.
    """
    wish = os.environ.get("MILLSTREAM_CLUSTER", "")
    return choose(wish, docker_and_kind_work=not wish and docker_and_kind_work())


def open_provider(shape: str, progress: Progress) -> Provider:
    """The provider to use for a shape; the control plane alone is always the project's own."""
    from devcluster.providers import current, kind, own  # noqa: PLC0415 - they import this module

    if shape == "control-plane":
        return own.ControlPlaneProvider(progress)
    choice = chosen()
    if choice.name == "current":
        return current.CurrentProvider()
    if choice.name == "kind":
        return kind.KindProvider(progress)
    return own.FullProvider(progress)
