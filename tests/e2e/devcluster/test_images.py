"""Building images, without a cluster to load them into."""

import shutil

import pytest

from demo.commands import ROOT
from devcluster import leftovers
from devcluster.commands import DevclusterError, run
from devcluster.images import Build, ImageStore
from devcluster.progress import quiet
from devcluster.sharing import why_no_cluster

pytestmark = pytest.mark.e2e
TAG = "localhost/devcluster-test/file:dev"


@pytest.fixture
def cache(tmp_path):
    if reason := why_no_cluster():
        pytest.skip(reason)
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not installed")
    yield tmp_path
    leftovers.unmount([tmp_path])


def make_build(cache, containerfile="FROM scratch\nCOPY file /file\n"):
    context = cache / "context"
    context.mkdir(exist_ok=True)
    (context / "Containerfile").write_text(containerfile)
    return Build(TAG, context / "Containerfile", context)


def buildah(cache, *words):
    folders = ["--root", cache / "images" / "storage", "--runroot", cache / "images" / "run"]
    return run(["buildah", *folders, "--storage-driver", "overlay", *words], seconds=60)


def test_layers_of_earlier_code_and_builds_that_were_killed_do_not_pile_up(cache):
    images = ImageStore(cache, quiet())
    kept = set()
    for content in ("first", "second", "third"):
        build = make_build(cache)
        (build.context / "file").write_text(content)
        buildah(cache, "from", "scratch")  # what a killed build leaves
        images.build(build)
        kept.add(len(buildah(cache, "images", "--all", "--quiet").split()))
    assert len(kept) == 1
    assert len(buildah(cache, "containers", "--quiet").split()) == 0


def test_an_image_stays_as_it_is_when_python_has_kept_bytecode_beside_its_sources(cache):
    images = ImageStore(cache, quiet())
    build = make_build(cache, "FROM scratch\nCOPY package /package\n")
    shutil.copy(ROOT / ".dockerignore", build.context)
    kept = build.context / "package" / "inner" / "__pycache__"
    kept.mkdir(parents=True)
    (kept.parent / "module.py").write_text("")
    made = set()
    for content in ("first", "second"):
        (kept / "module.cpython-311.pyc").write_text(content)
        images.build(build)
        made.add(buildah(cache, "images", "--quiet", "--no-trunc", TAG))
    assert len(made) == 1


def test_an_exported_image_has_its_layers_uncompressed_and_present_ones_are_not_written(cache):
    images = ImageStore(cache, quiet())
    build = make_build(cache)
    (build.context / "file").write_text("x" * 100_000)
    images.build(build)
    blobs = cache / "blobs"
    images.export(TAG, cache / "layout", blobs)
    large = [blob for blob in (blobs / "sha256").iterdir() if blob.stat().st_size > 100_000]
    assert len(large) == 1

    written = large[0].stat().st_mtime_ns, large[0].stat().st_ino
    images.export(TAG, cache / "layout-2", blobs)
    assert (large[0].stat().st_mtime_ns, large[0].stat().st_ino) == written


def test_a_build_that_fails_says_what_the_step_said(cache):
    with pytest.raises(DevclusterError, match="no-such-file"):
        ImageStore(cache, quiet()).build(make_build(cache, "FROM scratch\nCOPY no-such-file /\n"))
