"""Builds images without a container engine and keeps their layers in the cache.

buildah builds (each step in a chroot, each layer kept), skopeo takes the result out. Nothing is
ever compressed: gzip over the trainer's 6 GB of libraries takes minutes, and the archive goes no
further than the containerd on the same machine. buildah's own `push` compresses whatever one
tells it (1.28), hence skopeo.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from devcluster.cache import lock
from devcluster.commands import run
from devcluster.progress import Progress

BASE_TAG = "localhost/python:3.11-slim-bookworm"
BUILD_LIMIT = 3600.0
EXPORT_LIMIT = 1800.0
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Where distributions keep the bundle of certificate authorities that this machine trusts.
BUNDLES = (CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")


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
        with self._lock():
            self._build(build)

    def ensure(self, tag: str, title: str, seconds: float, recipe: Callable[[], Build]) -> None:
        """Builds an image unless one of this name exists.

        Args:
            tag: A name that changes with whatever goes into the image.
            title: What a person reads while waiting.
            seconds: How long that takes.
            recipe: Prepares the build; called only if it is needed.
        """
        if self._has(tag):
            return
        with self._lock():
            if self._has(tag):  # another launcher made it while we waited
                return
            with self._progress.step(f"{title}, once", seconds):
                build = recipe()
                self._build(build)
                if build.tag != tag:
                    run([*self._buildah(), "tag", build.tag, tag], seconds=60)

    def export(self, tag: str, folder: Path, blobs: Path) -> None:
        """Writes an image as an OCI layout, its blobs into `blobs` unless they are there.

        Args:
            tag: The image's name.
            folder: Receives `index.json`.
            blobs: Folder with a folder `sha256` of files named by their digest.
        """
        source = f"containers-storage:[overlay@{self._root}+{self._run_root}]{tag}"
        command = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
        where: list[str | Path] = ["--dest-shared-blob-dir", blobs, source, f"oci:{folder}:{tag}"]
        run([*command, *where], seconds=EXPORT_LIMIT)

    def _lock(self) -> AbstractContextManager[None]:
        return lock(self._cache / "locks" / "images", self._progress)

    def _build(self, build: Build) -> None:
        command = build_command(build, self._cache, find_bundle(os.environ))
        name = build.tag.rpartition("/")[2].replace(":", "-")
        log = self._cache / "logs" / f"image-{name}.log"
        # The lock is ours, so any build that is still there belongs to a launcher that was killed.
        run([*self._buildah(), "rm", "--all"], seconds=120)
        run([*self._buildah(), *command], seconds=BUILD_LIMIT, log=log)
        # Layers of earlier code hang on no tag any more; those below a tagged image stay.
        run([*self._buildah(), "rmi", "--prune"], seconds=120)

    def _has(self, tag: str) -> bool:
        listing = ["images", "--quiet", "--filter", f"reference={tag}"]
        return bool(run([*self._buildah(), *listing], seconds=60).strip())

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


def find_bundle(environ: Mapping[str, str], known: Sequence[str] = BUNDLES) -> Path | None:
    """The file of certificate authorities this machine trusts, none if it has none."""
    candidates = (environ.get("SSL_CERT_FILE", ""), *known)
    return next((Path(name).resolve() for name in candidates if Path(name).is_file()), None)
