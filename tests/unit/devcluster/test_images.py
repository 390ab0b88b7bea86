"""What a build is given of this machine, and how an image travels to containerd."""

import io
import itertools
import json
import tarfile
from pathlib import Path

import pytest

from devcluster.containerd import plan_transfer, render_config, stale_references, write_archive
from devcluster.images import BASE_TAG, Build, build_command, find_bundle
from devcluster.paths import State

TAG = "localhost/millstream:dev"
ENTRY = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": "sha256:manifest",
    "size": 7,
    "annotations": {"org.opencontainers.image.ref.name": "anything"},
}
MANIFEST = {
    "config": {"digest": "sha256:config"},
    "layers": [{"digest": "sha256:base"}, {"digest": "sha256:code"}, {"digest": "sha256:base"}],
}


def pairs(command, option):
    return [value for key, value in itertools.pairwise(command) if key == option]


def test_a_build_is_given_the_base_and_caches_and_certificates_by_mount(tmp_path):
    build = Build(TAG, Path("/images/Containerfile"), Path("/source"), {"EXTRA": "serving"})
    command = build_command(build, tmp_path, Path("/host/bundle.crt"))
    assert pairs(command, "--build-arg") == [f"BASE={BASE_TAG}", "EXTRA=serving"]
    volumes = pairs(command, "--volume")
    assert f"{tmp_path}/downloads/uv:/root/.cache/uv" in volumes
    assert "/host/bundle.crt:/etc/ssl/certs/ca-certificates.crt:ro" in volumes
    assert pairs(command, "--file") == ["/images/Containerfile"]
    assert command[-1] == "/source"


def test_a_base_of_ones_own_wins(tmp_path):
    build = Build(TAG, Path("/f"), Path("/c"), {"BASE": "registry.example/python:3.12"})
    command = build_command(build, tmp_path, None)
    assert pairs(command, "--build-arg") == ["BASE=registry.example/python:3.12"]


def test_the_bundle_is_the_one_the_environment_names_else_a_known_one_else_none(tmp_path):
    named, known = tmp_path / "named.pem", tmp_path / "known.pem"
    known.touch()
    missing = {"SSL_CERT_FILE": str(named)}
    assert find_bundle(missing, [str(known)]) == known
    named.touch()
    assert find_bundle(missing, [str(known)]) == named
    assert find_bundle({}, [str(tmp_path / "nowhere")]) is None


@pytest.mark.parametrize(
    ("present", "sent"),
    [
        pytest.param(
            (),
            ("sha256:manifest", "sha256:config", "sha256:base", "sha256:code"),
            id="all at first",
        ),
        pytest.param(
            ("sha256:base", "sha256:other"),
            ("sha256:manifest", "sha256:config", "sha256:code"),
            id="after a change of code only that",
        ),
        pytest.param(
            ("sha256:manifest", "sha256:config", "sha256:base", "sha256:code"),
            (),
            id="nothing when nothing changed",
        ),
    ],
)
def test_only_blobs_that_containerd_lacks_travel(present, sent):
    assert plan_transfer(TAG, ENTRY, MANIFEST, present).digests == sent


def test_the_archive_holds_the_planned_blobs_and_gives_the_image_its_name(tmp_path):
    blobs = tmp_path / "sha256"
    blobs.mkdir()
    for name in ("manifest", "config", "base", "code"):
        (blobs / name).write_text(name)
    transfer = plan_transfer(TAG, ENTRY, MANIFEST, ["sha256:base"])
    sink = io.BytesIO()
    write_archive(transfer, tmp_path, sink)

    with tarfile.open(fileobj=io.BytesIO(sink.getvalue())) as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json"))
        code = archive.extractfile("blobs/sha256/code").read()
    assert sorted(names) == [
        "blobs/sha256/code",
        "blobs/sha256/config",
        "blobs/sha256/manifest",
        "index.json",
        "oci-layout",
    ]
    assert code == b"code"
    (entry,) = index["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": TAG}
    assert entry["digest"] == "sha256:manifest"


def test_names_that_keep_replaced_images_alive_are_dropped_and_others_stay():
    images = [
        (TAG, "sha256:new"),
        ("sha256:config-new", "sha256:new"),
        ("sha256:config-old", "sha256:old"),
    ]
    assert stale_references(images) == ["sha256:config-old"]


def test_containerd_keeps_run_time_state_with_the_cluster_and_images_in_the_cache():
    config = render_config(State(Path("/state")), Path("/cache"), "localhost/pause:1", Path("/cni"))
    assert 'root = "/cache"' in config
    assert 'state = "/state/containerd/state"' in config
    assert 'sandbox_image = "localhost/pause:1"' in config
    assert "netns_mounts_under_state_dir = true" in config
    assert "restrict_oom_score_adj = true" in config
