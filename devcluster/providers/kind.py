"""A cluster of kind, where Docker and kind work: kind runs it, the add-ons are the same."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from devcluster import addons
from devcluster.binaries import Binaries
from devcluster.commands import DevclusterError, run
from devcluster.images import Build
from devcluster.installing import install
from devcluster.paths import SOURCES, State, cache_root, state_of
from devcluster.progress import Progress
from devcluster.providers import Status

NAME = "millstream"
IMAGES = {
    "s3": "localhost/devcluster/s3:kind",
    "prometheus": "localhost/devcluster/prometheus:kind",
}


class KindProvider:
    """A kind cluster called `millstream`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._state: State = state_of("kind")
        self._binaries = Binaries(cache_root(), progress)

    def up(self, meanwhile: Sequence[Build] = ()) -> Status:
        """See `Provider`; images are built when they are loaded."""
        del meanwhile
        self._state.root.mkdir(parents=True, exist_ok=True)
        kubeconfig = ["--name", NAME, "--kubeconfig", str(self._state.kubeconfig)]
        if NAME in run(["kind", "get", "clusters"], seconds=60).split():
            run(["kind", "export", "kubeconfig", *kubeconfig], seconds=60)
        else:
            with self._progress.step("making a kind cluster", 60):
                run(["kind", "create", "cluster", *kubeconfig, "--wait", "120s"], seconds=600)
        self.build()
        for tag in IMAGES.values():
            run(["kind", "load", "docker-image", "--name", NAME, tag], seconds=600)
        manifests = [
            addons.render_namespace(),
            *addons.render_s3(IMAGES["s3"], {"emptyDir": {}}),
            *addons.render_prometheus(IMAGES["prometheus"]),
        ]
        with self._progress.step("starting S3 server and Prometheus", 20):
            install(self._binaries.clients() / "kubectl", self._state.kubeconfig, manifests)
        return self.status()

    def build(self) -> None:
        """See `Provider`."""
        context = self._state.root / "s3-context"
        context.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self._binaries.versitygw(), context / "program")
        recipes = SOURCES / "images"
        with self._progress.step("building the add-ons' images", 60):
            _docker_build(Build(IMAGES["s3"], recipes / "binary" / "Containerfile", context))
            prometheus = recipes / "prometheus"
            _docker_build(Build(IMAGES["prometheus"], prometheus / "Containerfile", prometheus))

    def down(self, *, purge_images: bool) -> None:
        """See `Provider`; images are Docker's and stay with it."""
        del purge_images
        run(["kind", "delete", "cluster", "--name", NAME], seconds=300)
        shutil.rmtree(self._state.root, ignore_errors=True)

    def status(self) -> Status:
        """See `Provider`; the Services' addresses are reachable from pods only."""
        running = NAME in run(["kind", "get", "clusters"], seconds=60).split()
        kubeconfig = str(self._state.kubeconfig) if running else ""
        return Status("kind", "full", running=running, kubeconfig=kubeconfig)

    def load_images(self, builds: Sequence[Build]) -> list[str]:
        """See `Provider`."""
        for build in builds:
            with self._progress.step(f"building {build.tag}"):
                _docker_build(build)
            with self._progress.step(f"loading {build.tag}"):
                run(["kind", "load", "docker-image", "--name", NAME, build.tag], seconds=1800)
        return [f"{build.tag} is in the kind cluster" for build in builds]

    def log(self, component: str) -> Path:
        """Cannot: kind keeps its own."""
        raise DevclusterError(f"`kind export logs --name {NAME}` has the log of {component}")


def _docker_build(build: Build) -> None:
    arguments = [f"--build-arg={key}={value}" for key, value in build.arguments.items()]
    command: list[str | Path] = ["docker", "build", "--tag", build.tag, "--file", build.file]
    run([*command, *arguments, build.context], seconds=3600)
