"""Which cluster is used, and what those that are not ours to change refuse."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devcluster.__main__ import app
from devcluster.commands import DevclusterError
from devcluster.images import Build
from devcluster.providers import Status, choose
from devcluster.providers.current import CurrentProvider


@pytest.mark.parametrize(
    ("wish", "docker_and_kind", "name"),
    [
        pytest.param("", False, "own", id="without Docker and kind: our own"),
        pytest.param("", True, "kind", id="with them: kind"),
        pytest.param("own", True, "own", id="a wish wins"),
        pytest.param("kind", False, "kind", id="a wish wins even if it will fail"),
        pytest.param("current", True, "current", id="an existing cluster on request only"),
    ],
)
def test_the_cluster_that_is_used(wish, docker_and_kind, name):
    choice = choose(wish, docker_and_kind_work=docker_and_kind)
    assert choice.name == name
    assert choice.reason


def test_an_unknown_wish_is_refused_with_the_known_ones():
    with pytest.raises(DevclusterError, match="minikube is none of current, kind, own"):
        choose("minikube", docker_and_kind_work=False)


def test_an_existing_cluster_is_not_given_images_but_the_user_is_told_what_to_do():
    with pytest.raises(DevclusterError, match="push localhost/a:1 to a registry"):
        CurrentProvider().load_images([Build("localhost/a:1", Path("f"), Path("c"))])


def test_status_for_programs_has_the_fields_they_read():
    found = json.loads(Status("own", "full", running=True, s3="http://10.96.0.74:7480").as_json())
    assert found["running"] is True
    assert found["s3"] == "http://10.96.0.74:7480"
    assert {"kubeconfig", "prometheus", "server", "components"} <= found.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["status"], "MILLSTREAM_CLUSTER=nonsense is none of", id="a wrong wish"),
        pytest.param(
            ["logs", "nobody", "--shape", "control-plane"], "no log of 'nobody'", id="no such log"
        ),
    ],
)
def test_the_command_line_says_what_is_wrong_in_one_sentence(monkeypatch, arguments, says):
    monkeypatch.setenv("MILLSTREAM_CLUSTER", "nonsense")
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("devcluster: ")
    assert says in done.stderr
    assert "Traceback" not in done.output
