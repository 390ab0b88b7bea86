"""Builds images without a container engine and keeps their layers in the cache.

buildah builds (each step in a chroot, each layer kept), skopeo takes the result out. Nothing is
ever compressed: gzip over the trainer's 6 GB of libraries takes minutes, and the archive goes no
further than the containerd on the same machine. buildah's own `push` compresses whatever one
tells it (1.28), hence skopeo.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.cache import recipe_digest
from devcluster.commands import run
from devcluster.paths import SOURCES
from devcluster.progress import Progress

BASE_TAG = "localhost/python:3.11-slim-bookworm"
SUITE = "bookworm"
BUILD_LIMIT = 3600.0
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Where distributions keep the bundle of certificate authorities that this machine trusts.
BUNDLES = (CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
# Marks what the official image does not have either; the first lets pip install as it does there.
UNWANTED = (
    "usr/lib/python3.11/EXTERNALLY-MANAGED",
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
)


@dataclass(frozen=True)
class Build:
    """An image to build."""

    tag: str
    file: Path
    """The Containerfile."""
    context: Path
    """The folder that its COPY lines read from."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """Values for its ARG lines."""


class ImageStore:
    """Built images and their layers, in the cache; survives the cluster."""

    def __init__(self, cache: Path, progress: Progress) -> None:
        self._cache = cache
        self._root = cache / "images" / "storage"
        self._run_root = cache / "images" / "run"
        self._progress = progress

    def build(self, build: Build) -> None:
        """Builds an image on top of what is cached of it.

        Raises:
            DevclusterError: A step failed; the message ends with what it printed.
        """
        command = build_command(build, self._cache, find_bundle(os.environ))
        name = build.tag.rpartition("/")[2].replace(":", "-")
        log = self._cache / "logs" / f"image-{name}.log"
        run([*self._buildah(), *command], seconds=BUILD_LIMIT, log=log)
        # Layers of earlier code hang on no tag any more; those below a tagged image stay.
        run([*self._buildah(), "rmi", "--prune"], seconds=120)

    def has(self, tag: str) -> bool:
        """Whether an image of this name was built."""
        return bool(
            run(
                [*self._buildah(), "images", "--quiet", "--filter", f"reference={tag}"], seconds=60
            ).strip()
        )

    def export(self, tag: str, folder: Path, blobs: Path) -> None:
        """Writes an image as an OCI layout, its blobs into `blobs` unless they are there.

        Args:
            tag: The image's name.
            folder: Receives `index.json`.
            blobs: Folder with a folder `sha256` of files named by their digest.
        """
        source = f"containers-storage:[overlay@{self._root}+{self._run_root}]{tag}"
        flags: list[str | Path] = [
            "--dest-oci-accept-uncompressed-layers",
            "--dest-shared-blob-dir",
            blobs,
        ]
        run(["skopeo", "copy", "--quiet", *flags, source, f"oci:{folder}:{tag}"], seconds=900)

    def ensure_base(self) -> None:
        """Makes the image that the project's images stand on, once."""
        recipe = SOURCES / "images" / "python" / "Containerfile"
        marker = (
            f"localhost/devcluster/python:{recipe_digest(SUITE, PACKAGES + UNWANTED, (recipe,))}"
        )
        if self.has(marker):
            return
        with self._progress.step(f"making the base image from Debian {SUITE} packages, once", 80):
            context = self._cache / "images" / "base"
            shutil.rmtree(context, ignore_errors=True)
            _make_root(context, self._cache / "logs" / "debootstrap.log")
            self.build(Build(BASE_TAG, recipe, context))
            run([*self._buildah(), "tag", BASE_TAG, marker], seconds=60)
            shutil.rmtree(context)

    def ensure_prometheus(self) -> str:
        """Builds the Prometheus image, once; returns its name."""
        self.ensure_base()
        recipe = SOURCES / "images" / "prometheus" / "Containerfile"
        sources = (recipe, recipe.with_name("pod_targets.py"))
        tag = f"localhost/devcluster/prometheus:{recipe_digest(SUITE, (), sources)}"
        if not self.has(tag):
            with self._progress.step("making the Prometheus image, once", 30):
                self.build(Build(tag, recipe, recipe.parent, {"BASE": BASE_TAG}))
        return tag

    def ensure_program(self, name: str, program: Path) -> str:
        """Wraps one static program as an image, once per program; returns its name."""
        recipe = SOURCES / "images" / "binary" / "Containerfile"
        tag = f"localhost/devcluster/{name}:{recipe_digest(program.parent.name, (), (recipe,))}"
        if not self.has(tag):
            context = self._cache / "images" / f"context-{name}"
            context.mkdir(parents=True, exist_ok=True)
            shutil.copy2(program, context / "program")
            self.build(Build(tag, recipe, context))
            shutil.rmtree(context)
        return tag

    def _buildah(self) -> list[str]:
        where = ["--root", str(self._root), "--runroot", str(self._run_root)]
        return ["buildah", *where, "--storage-driver", "overlay"]


def build_command(build: Build, cache: Path, bundle: Path | None) -> list[str]:
    """Arguments of buildah for a build.

    What a build needs of this machine (its certificate authorities, caches of downloads) is
    mounted, so that Containerfiles know nothing of it and images do not hold it. Proxies pass
    through by themselves.
    """
    command = ["bud", "--isolation", "chroot", "--layers", "--tag", build.tag]
    for name in ("uv", "pip"):
        folder = cache / "downloads" / name
        folder.mkdir(parents=True, exist_ok=True)
        command += ["--volume", f"{folder}:/root/.cache/{name}"]
    if bundle is not None:
        command += ["--volume", f"{bundle}:{CERTIFICATES}:ro"]
    for key, value in {"BASE": BASE_TAG, **build.arguments}.items():
        command += ["--build-arg", f"{key}={value}"]
    return [*command, "--file", str(build.file), str(build.context)]


def find_bundle(environ: Mapping[str, str]) -> Path | None:
    """The file of certificate authorities this machine trusts, none if it has none."""
    candidates = (environ.get("SSL_CERT_FILE", ""), *BUNDLES)
    return next(
        (Path(name).resolve() for name in candidates if name and Path(name).is_file()), None
    )


def _make_root(context: Path, log: Path) -> None:
    root = context / "rootfs"
    root.mkdir(parents=True)
    variant = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    run(["debootstrap", *variant, SUITE, root], seconds=1800, log=log)
    for name in UNWANTED:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.unlink()
    (root / "usr" / "bin" / "python").symlink_to("python3")
    run(
        ["tar", "--create", "--file", context / "rootfs.tar", "--directory", root, "."], seconds=300
    )
    shutil.rmtree(root)
