"""The project's own cluster in its two shapes."""

from collections.abc import Sequence
from pathlib import Path

from devcluster import addons, controlplane, lifecycle, processes
from devcluster.binaries import Binaries
from devcluster.commands import DevclusterError
from devcluster.components import Component, control_plane
from devcluster.full import Full
from devcluster.images import Build
from devcluster.lifecycle import Made
from devcluster.paths import State, cache_root, state_of
from devcluster.progress import Progress
from devcluster.providers import Status


class ControlPlaneProvider:
    """Etcd, API server, controllers and scheduler; no nodes, no root."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._state = state_of("control-plane")

    def up(self, meanwhile: Sequence[Build] = ()) -> Status:
        """See `Provider`; it runs no images."""
        del meanwhile
        controlplane.bring_up(self._state, self._progress)
        return self.status()

    def build(self) -> None:
        """See `Provider`."""
        Binaries(cache_root(), self._progress).kubernetes()

    def down(self, *, purge_images: bool) -> None:
        """See `Provider`; there are no images."""
        del purge_images
        controlplane.take_down(self._state, self._progress)

    def status(self) -> Status:
        """See `Provider`."""
        made = Made.read(self._state)
        expected = control_plane(controlplane.settings_of(self._state, made)) if made else ()
        return _status("control-plane", self._state, expected, made)

    def load_images(self, builds: Sequence[Build]) -> list[str]:
        """See `Provider`."""
        raise DevclusterError(
            f"the control-plane shape runs no pods, so {builds[0].tag} cannot be loaded; "
            "use `--shape full`"
        )

    def log(self, component: str) -> Path:
        """See `Provider`."""
        return _log(self._state, component)


class FullProvider:
    """A whole cluster of one node."""

    def __init__(self, progress: Progress) -> None:
        self._state = state_of("full")
        self._full = Full(self._state, cache_root(), progress)

    def up(self, meanwhile: Sequence[Build] = ()) -> Status:
        """See `Provider`."""
        self._full.up(meanwhile)
        return self.status()

    def build(self) -> None:
        """See `Provider`."""
        self._full.prepare()

    def down(self, *, purge_images: bool) -> None:
        """See `Provider`."""
        self._full.down(purge_images=purge_images)

    def status(self) -> Status:
        """See `Provider`."""
        made = Made.read(self._state)
        return _status("full", self._state, self._full.expected(made), made)

    def load_images(self, builds: Sequence[Build]) -> list[str]:
        """See `Provider`."""
        return [
            f"{build.tag} is in the cluster; {travelled / 1e6:.1f} MB had to travel"
            for build, travelled in zip(builds, self._full.load_images(builds), strict=True)
        ]

    def log(self, component: str) -> Path:
        """See `Provider`."""
        return _log(self._state, component)


def _status(shape: str, state: State, expected: Sequence[Component], made: Made | None) -> Status:
    working = lifecycle.find_working(expected, state)
    owned = processes.find(state.root)
    pids = {process.component: process.pid for process in owned if process.is_main}
    complete = made is not None and made.complete
    running = complete and all(component.name in working for component in expected)
    shows = shape == "full" and running
    return Status(
        provider="own",
        shape=shape,
        running=running,
        kubeconfig=str(state.kubeconfig) if made else "",
        server=controlplane.settings_of(state, made).server if made else "",
        s3=addons.S3_URL if shows else "",
        prometheus=addons.PROMETHEUS_URL if shows else "",
        components={c.name: pids.get(c.name) if c.name in working else None for c in expected},
        memory_bytes=sum(process.memory for process in owned),
    )


def _log(state: State, component: str) -> Path:
    log = state.log(component)
    if not log.exists():
        known = ", ".join(sorted(path.stem for path in log.parent.glob("*.log"))) or "none yet"
        raise DevclusterError(f"no log of {component!r}; there are: {known}")
    return log
