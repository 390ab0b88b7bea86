"""The images that the launcher makes itself: the base of all others, and the add-ons'.

Each is named by the digest of its recipe, so it is made once and made anew when the recipe
changes.
"""

import shutil
from pathlib import Path

from devcluster.cache import recipe_digest
from devcluster.commands import run
from devcluster.images import BASE_TAG, Build, ImageStore
from devcluster.paths import SOURCES

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
# The official image has none of these either; without the first pip installs as it does there.
UNWANTED = (
    "usr/lib/python3.11/EXTERNALLY-MANAGED",
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
)
RECIPES = SOURCES / "images"


def ensure_base(images: ImageStore, cache: Path) -> None:
    """Makes the image that the project's Containerfiles stand on."""
    recipe = RECIPES / "python" / "Containerfile"
    tag = f"localhost/devcluster/python:{recipe_digest(SUITE, PACKAGES + UNWANTED, (recipe,))}"

    def prepare() -> Build:
        context = _empty(cache / "images" / "base")
        _make_root(context, cache / "logs" / "debootstrap.log")
        return Build(BASE_TAG, recipe, context)

    images.ensure(tag, f"making the base image from Debian {SUITE} packages", 90, prepare)
    shutil.rmtree(cache / "images" / "base", ignore_errors=True)


def ensure_prometheus(images: ImageStore) -> str:
    """Makes the image of Prometheus and its pod finder; returns its name."""
    recipe = RECIPES / "prometheus" / "Containerfile"
    sources = (recipe, recipe.with_name("pod_targets.py"))
    tag = f"localhost/devcluster/prometheus:{recipe_digest(SUITE, (), sources)}"
    images.ensure(tag, "making the Prometheus image", 30, lambda: Build(tag, recipe, recipe.parent))
    return tag


def ensure_program(images: ImageStore, cache: Path, name: str, program: Path) -> str:
    """Wraps a static program from the cache as an image; returns the image's name."""
    recipe = RECIPES / "binary" / "Containerfile"
    tag = f"localhost/devcluster/{name}:{recipe_digest(program.parent.name, (), (recipe,))}"
    folder = cache / "images" / f"context-{name}"

    def prepare() -> Build:
        shutil.copy2(program, _empty(folder) / "program")
        return Build(tag, recipe, folder)

    images.ensure(tag, f"wrapping {name} as an image", 2, prepare)
    shutil.rmtree(folder, ignore_errors=True)
    return tag


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _make_root(context: Path, log: Path) -> None:
    root = context / "rootfs"
    variant = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
    run(["debootstrap", *variant, SUITE, root], seconds=1800, log=log)
    for name in UNWANTED:
        path = root / name
        if path.is_dir():
            _empty(path)
        else:
            path.unlink()
    (root / "usr" / "bin" / "python").symlink_to("python3")
    archive = context / "rootfs.tar"
    run(["tar", "--create", "--file", archive, "--directory", root, "."], seconds=300)
    shutil.rmtree(root)
