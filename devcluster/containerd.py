"""The cluster's containerd: its configuration, and images handed to it without a registry.

An image goes over as a tar stream that holds only the blobs containerd lacks; it accepts such an
archive when the rest is in its store. So after a change of code a few kilobytes travel, although
the image has gigabytes. Its store is in the cache, not in the cluster's folder: the images
outlive the cluster.
"""

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from devcluster.commands import DevclusterError, run, tail
from devcluster.components import Component
from devcluster.images import ImageStore
from devcluster.paths import State

NAMESPACE = "k8s.io"
IMPORT_LIMIT = 1800.0


@dataclass(frozen=True)
class Transfer:
    """What to send of an image: its index entry and the blobs containerd lacks."""

    index: bytes
    digests: tuple[str, ...]


def plan_transfer(
    tag: str, entry: dict[str, Any], manifest: dict[str, Any], present: Collection[str]
) -> Transfer:
    """Decides what of an image has to travel.

    Args:
        tag: The name the image gets in containerd.
        entry: The image's descriptor in the layout's index.
        manifest: The image's manifest.
        present: Digests that containerd's store holds.
    """
    descriptor = {key: entry[key] for key in ("mediaType", "digest", "size")}
    named = {**descriptor, "annotations": {"io.containerd.image.name": tag}}
    digests = [descriptor["digest"], manifest["config"]["digest"]]
    digests += [layer["digest"] for layer in manifest["layers"]]
    return Transfer(
        json.dumps({"schemaVersion": 2, "manifests": [named]}).encode(),
        tuple(digest for digest in dict.fromkeys(digests) if digest not in present),
    )


def write_archive(transfer: Transfer, blobs: Path, sink: IO[bytes]) -> None:
    """Writes an OCI archive with the planned blobs."""
    with tarfile.open(fileobj=sink, mode="w|", bufsize=1 << 20) as archive:
        for name, content in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", transfer.index),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
        for digest in transfer.digests:
            name = digest.replace(":", "/")
            archive.add(blobs / name, arcname=f"blobs/{name}")


def stale_references(images: Sequence[tuple[str, str]]) -> list[str]:
    """Names that keep an image alive although no tag names it any more.

    The second name of an image, `sha256:…`, stays behind when the tag moves on to a newer build.

    Args:
        images: Name and manifest digest of each image.
    """
    tagged = {digest for name, digest in images if not name.startswith("sha256:")}
    return [name for name, digest in images if name.startswith("sha256:") and digest not in tagged]


class Containerd:
    """A running containerd."""

    def __init__(self, state: State, store: Path) -> None:
        self._state = state
        self._blobs = store / "io.containerd.content.v1.content" / "blobs"

    def images(self) -> list[tuple[str, str]]:
        """Name and manifest digest of each image."""
        rows = self._ctr("images", "list").splitlines()[1:]
        return [(fields[0], fields[2]) for fields in map(str.split, rows)]

    def load(self, images: ImageStore, tag: str) -> int:
        """Hands over an image; returns the number of bytes that had to travel.

        Raises:
            DevclusterError: containerd refused it.
        """
        # Beside the store, so that links into it are possible.
        with tempfile.TemporaryDirectory(dir=self._blobs.parents[1]) as scratch:
            blobs = Path(scratch) / "blobs"
            self._link_present(blobs)
            images.export(tag, Path(scratch) / "layout", blobs)
            entry = json.loads((Path(scratch) / "layout" / "index.json").read_text())["manifests"][
                0
            ]
            manifest = json.loads((blobs / entry["digest"].replace(":", "/")).read_text())
            self._hold(tag)
            present = self._ctr("content", "ls", "--quiet").split()
            transfer = plan_transfer(tag, entry, manifest, present)
            self._send(transfer, blobs)
            sizes = (
                (blobs / digest.replace(":", "/")).stat().st_size for digest in transfer.digests
            )
            return sum(sizes)

    def forget_replaced(self) -> None:
        """Has the layers of replaced images go, unless another image or a container needs them.

        Not while an image is on its way: it leaves out what the one that it replaces has brought.
        """
        names = stale_references(self.images())
        if names:
            # Until their layers are gone: a later image could count on what is about to go.
            self._ctr("images", "remove", "--sync", *names)

    def _hold(self, tag: str) -> None:
        """Keeps an image that is about to be replaced until `forget_replaced`.

        containerd would collect its layers while those that its successor shares with it are being
        counted on (https://github.com/containerd/containerd/pull/10764). Kubernetes' plugin gives
        such a second name only to the first image of a tag.
        """
        for digest in (digest for name, digest in self.images() if name == tag):
            manifest = json.loads((self._blobs / digest.replace(":", "/")).read_text())
            self._ctr("images", "tag", "--force", tag, manifest["config"]["digest"])

    def remove_containers(self) -> int:
        """Forgets containers of an earlier cluster, whose processes are gone; returns how many."""
        names = self._ctr("containers", "list", "--quiet").split()
        if names:
            self._ctr("containers", "remove", *names)
        return len(names)

    def _link_present(self, blobs: Path) -> None:
        """Shows the exporter the blobs that containerd has, so that it leaves them out."""
        target = blobs / "sha256"
        target.mkdir(parents=True)
        for blob in (self._blobs / "sha256").iterdir() if self._blobs.exists() else ():
            os.link(blob, target / blob.name)

    def _send(self, transfer: Transfer, blobs: Path) -> None:
        command = [*self._client(), "images", "import", "-"]
        with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.STDOUT) as importer:
            assert importer.stdin is not None
            with suppress(BrokenPipeError):  # it gave up; what it says comes below
                write_archive(transfer, blobs, importer.stdin)
            said, _ = importer.communicate(timeout=IMPORT_LIMIT)
        if importer.returncode:
            raise DevclusterError(f"containerd refused the image:\n{tail(said.decode())}")

    def _ctr(self, *arguments: str) -> str:
        return run([*self._client(), *arguments], seconds=300)

    def _client(self) -> list[str]:
        return ["ctr", "--address", str(self._state.containerd_socket), "--namespace", NAMESPACE]


def component(state: State) -> Component:
    """How containerd is started."""
    program = shutil.which("containerd")
    if program is None:
        raise DevclusterError("containerd is not installed")
    argv = (program, "--config", str(state.containerd / "config.toml"), "--log-level", "warn")
    return Component("containerd", argv, f"unix://{state.containerd_socket}")


def render_config(state: State, store: Path, pause_image: str, cni_programs: Path) -> str:
    """Containerd's configuration file (TOML)."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    runc = f"{cri}.containerd.runtimes.runc"
    return f"""version = 2
root = "{store}"
state = "{state.containerd / "state"}"

[grpc]
  address = "{state.containerd_socket}"

[{cri}]
  sandbox_image = "{pause_image}"
  # Where the launcher may not lower a process's OOM score, no sandbox would start without this.
  restrict_oom_score_adj = true
  # Network namespaces are mounts: in the cluster's folder they are found and undone with it.
  netns_mounts_under_state_dir = true

[{cri}.cni]
  bin_dir = "{cni_programs}"
  conf_dir = "{state.cni / "conf"}"

[{cri}.containerd]
  snapshotter = "overlayfs"

[{runc}]
  runtime_type = "io.containerd.runc.v2"

[{runc}.options]
  Root = "{state.containerd / "runc"}"
  SystemdCgroup = false
"""
