"""The control-plane shape: it comes up, answers, repairs itself and goes without a trace."""

import json
import os
import signal
import subprocess
import sys

import pytest

from devcluster import DevclusterError, control_plane, controlplane, processes
from devcluster.binaries import KUBERNETES_VERSION, Binaries
from devcluster.lifecycle import Health
from devcluster.paths import CHECKOUT, State, cache_root
from devcluster.progress import quiet

pytestmark = pytest.mark.integration
NAMES = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}


@pytest.fixture(scope="module")
def kubectl():
    return Binaries(cache_root(), quiet()).clients() / "kubectl"


def ask(kubectl, cluster, *words):
    command = [kubectl, "--kubeconfig", cluster.kubeconfig, *words]
    done = subprocess.run(  # noqa: S603 - nothing untrusted
        command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "cluster")
    yield state
    controlplane.take_down(state, quiet())


def test_it_answers_with_its_version_and_leaves_no_process(tmp_path, kubectl):
    with control_plane(tmp_path / "cluster", audit=True, progress=quiet()) as cluster:
        version = json.loads(ask(kubectl, cluster, "version", "--output", "json"))
        assert version["serverVersion"]["gitVersion"] == f"v{KUBERNETES_VERSION}"
        ask(kubectl, cluster, "create", "configmap", "seen")
        assert processes.find_main(cluster.state.root).keys() == NAMES
        with Health(cluster.state.pki) as health:
            assert health.answers(f"{cluster.server}/readyz")
            assert not health.answers("http://127.0.0.1:1/")
            assert not health.answers("unix:///nowhere.sock")
        audited = cluster.state.log("audit").read_text().splitlines()
    requests = [json.loads(line) for line in audited]
    assert any(r["verb"] == "create" and r["objectRef"]["name"] == "seen" for r in requests)
    assert processes.find(cluster.state.root) == []


def test_two_at_once_know_nothing_of_each_other(tmp_path, kubectl):
    with (
        control_plane(tmp_path / "one", progress=quiet()) as one,
        control_plane(tmp_path / "two", progress=quiet()) as two,
    ):
        ask(kubectl, one, "create", "namespace", "only-in-one")
        assert "only-in-one" in ask(kubectl, one, "get", "namespaces")
        assert "only-in-one" not in ask(kubectl, two, "get", "namespaces")


def test_up_again_changes_nothing_and_after_a_kill_brings_back_only_what_died(state, kubectl):
    cluster = controlplane.bring_up(state, quiet())
    ask(kubectl, cluster, "create", "configmap", "kept")
    before = {name: p.pid for name, p in processes.find_main(state.root).items()}

    assert controlplane.bring_up(state, quiet()) == cluster
    assert {name: p.pid for name, p in processes.find_main(state.root).items()} == before

    os.kill(before["kube-apiserver"], signal.SIGKILL)
    assert processes.wait_until(lambda: "kube-apiserver" not in processes.find_main(state.root), 10)
    controlplane.bring_up(state, quiet())
    after = {name: p.pid for name, p in processes.find_main(state.root).items()}
    assert {name for name in NAMES if after[name] != before[name]} == {"kube-apiserver"}
    ask(kubectl, cluster, "get", "configmap", "kept")


def test_a_component_that_runs_but_does_not_answer_is_restarted(state, kubectl):
    cluster = controlplane.bring_up(state, quiet())
    pid = processes.find_main(state.root)["kube-scheduler"].pid
    os.kill(pid, signal.SIGSTOP)
    controlplane.bring_up(state, quiet())
    assert processes.find_main(state.root)["kube-scheduler"].pid != pid
    assert "ok" in ask(kubectl, cluster, "get", "--raw", "/readyz")


def test_after_a_crash_in_the_middle_of_up_the_next_one_starts_afresh(state, kubectl):
    script = (
        "from pathlib import Path; import sys\n"
        "from devcluster import controlplane\n"
        "from devcluster.paths import State\n"
        "from devcluster.progress import quiet\n"
        "controlplane.bring_up(State(Path(sys.argv[1])), quiet())\n"
    )
    launcher = subprocess.Popen(  # noqa: S603 - our own launcher
        [sys.executable, "-c", script, state.root], cwd=CHECKOUT
    )
    try:
        assert processes.wait_until(lambda: "etcd" in processes.find_main(state.root), 60)
    finally:
        launcher.kill()
        launcher.wait()
    cluster = controlplane.bring_up(state, quiet())
    assert processes.find_main(state.root).keys() == NAMES
    assert "default" in ask(kubectl, cluster, "get", "namespaces")


def test_a_cluster_of_tests_does_not_outlive_them(tmp_path):
    script = (
        "from pathlib import Path; import sys, time\n"
        "from devcluster import control_plane\n"
        "with control_plane(Path(sys.argv[1])):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(600)\n"
    )
    root = tmp_path / "cluster"
    with subprocess.Popen(  # noqa: S603 - our own launcher
        [sys.executable, "-c", script, root], cwd=CHECKOUT, stdout=-1, stderr=-1, text=True
    ) as tests:
        assert tests.stdout.readline() == "up\n"
        assert processes.find_main(root).keys() == NAMES
        tests.kill()
    assert processes.wait_until(lambda: processes.find(root) == [], 20)


def test_down_works_when_nothing_is_there_and_when_everything_was_killed(state):
    controlplane.take_down(state, quiet())
    controlplane.bring_up(state, quiet())
    for process in processes.find(state.root):
        os.kill(process.pid, signal.SIGKILL)
    controlplane.take_down(state, quiet())
    assert not state.root.exists()
    assert processes.find(state.root) == []


def test_a_component_that_cannot_start_is_shown_with_the_end_of_its_log(state, monkeypatch):
    """Here for a port that cannot be: etcd says so itself, and that reaches the person."""
    monkeypatch.setattr(controlplane, "draw_ports", taken_ports)
    with pytest.raises(DevclusterError, match="etcd stopped") as failure:
        controlplane.bring_up(state, quiet())
    assert "etcd.log" in str(failure.value)


def taken_ports():
    return {**dict.fromkeys(controlplane.components.PORT_NAMES, 1), "etcd-peer": -1}
