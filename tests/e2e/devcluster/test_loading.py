"""Handing images to containerd, without a cluster around it."""

import shutil
import subprocess

import pytest

from devcluster import leftovers
from devcluster.containerd import Containerd, component, render_config
from devcluster.images import Build, ImageStore
from devcluster.paths import State
from devcluster.processes import wait_until
from devcluster.progress import quiet
from devcluster.sharing import why_no_cluster

pytestmark = pytest.mark.e2e
TAG = "localhost/devcluster-test/page:dev"


@pytest.fixture
def containerd(tmp_path):
    """One that runs, with an empty store."""
    if reason := why_no_cluster():
        pytest.skip(reason)
    if shutil.which("containerd") is None or shutil.which("buildah") is None:
        pytest.skip("containerd or buildah is not installed")
    state, store = State(tmp_path / "state"), tmp_path / "store"
    state.containerd.mkdir(parents=True)
    config = render_config(state, store, "localhost/pause:1", tmp_path / "cni")
    (state.containerd / "config.toml").write_text(config)
    argv = component(state).argv
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - ours
        try:
            assert wait_until(state.containerd_socket.exists, 30)
            yield Containerd(state, store)
        finally:
            process.terminate()
    leftovers.unmount([tmp_path])


@pytest.fixture
def images(tmp_path):
    """Builds of one image; gives the function that makes the next."""
    store = ImageStore(tmp_path / "cache", quiet())
    context = tmp_path / "context"
    context.mkdir()
    (context / "Containerfile").write_text("FROM scratch\nCOPY kept /\nCOPY page /\n")
    (context / "kept").write_text("the same in all")

    def build(page):
        (context / "page").write_text(page)
        store.build(Build(TAG, context / "Containerfile", context))
        return store

    return build


def test_an_image_is_kept_until_all_that_replace_others_are_there(containerd, images):
    """Else its layers are collected while the next image counts on those that they share."""
    before = None
    for page in ("first", "second", "third", "fourth"):
        containerd.load(images(page), TAG)
        now = dict(containerd.images())[TAG]
        assert before in {None, *(digest for _, digest in containerd.images())}, page
        containerd.forget_replaced()
        assert {digest for _, digest in containerd.images()} == {now}
        assert now != before
        before = now
