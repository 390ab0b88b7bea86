"""What a machine lacks, and getting it."""

import os
from pathlib import Path

import pytest

from devcluster import host
from devcluster.commands import DevclusterError, run
from devcluster.host import NEEDS, missing_packages, too_long
from devcluster.paths import State, cache_root

ALL = [need.program for need in NEEDS]


@pytest.mark.parametrize(
    ("programs", "has_cni", "has_keyring", "packages"),
    [
        pytest.param(ALL, True, True, [], id="nothing is missing"),
        pytest.param(
            [p for p in ALL if p not in {"containerd", "ctr"}],
            True,
            True,
            ["containerd"],
            id="two programs of one package",
        ),
        pytest.param(ALL, False, True, ["containernetworking-plugins"], id="network plugins"),
        pytest.param(ALL, True, False, ["debian-archive-keyring"], id="Ubuntu's debootstrap"),
    ],
)
def test_what_is_missing_is_named_as_packages(programs, has_cni, has_keyring, packages):
    found = missing_packages(programs, has_cni=has_cni, has_keyring=has_keyring)
    assert found == packages


def test_a_checkout_too_deep_for_sockets_is_noticed_before_kubelet_fails():
    assert too_long(State(Path("/srv/checkout/build/devcluster/full"))) is None
    complaint = too_long(State(Path("/home") / ("deep" * 20) / "build/devcluster/full"))
    assert complaint is not None
    assert "move the checkout" in complaint


def test_without_root_the_full_shape_says_so_and_what_to_do(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    reason = host.obstacle()
    assert reason is not None
    assert "needs root" in reason
    assert "sudo" in reason


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        pytest.param({"MILLSTREAM_CACHE": "/c"}, "/c", id="the project's own variable"),
        pytest.param({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/millstream", id="the standard"),
        pytest.param({"HOME": "/h"}, "/h/.cache/millstream", id="the usual place"),
    ],
)
def test_the_cache_is_where_the_user_wants_it(environ, folder):
    assert cache_root(environ) == Path(folder)


def test_a_missing_program_is_named():
    with pytest.raises(DevclusterError, match="no-such-program is not installed"):
        run(["no-such-program"], seconds=1)


def test_a_failing_program_is_shown_with_the_end_of_what_it_said():
    with pytest.raises(DevclusterError, match=r"exit code 3:\n    the reason"):
        run(["bash", "-c", "echo the reason >&2; exit 3"], seconds=5)


def test_a_program_that_hangs_is_ended():
    with pytest.raises(DevclusterError, match="did not end within"):
        run(["sleep", "60"], seconds=0.2)
