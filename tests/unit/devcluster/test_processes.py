"""Processes are found by the mark they carry, and only those are ended."""

import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from devcluster import processes
from devcluster.processes import COMPONENT, MARKER, identify

SLEEP = shutil.which("sleep")


@pytest.fixture
def cluster(tmp_path):
    """A cluster's folder and a starter of harmless components in it."""
    root = tmp_path / "cluster"
    programs = tmp_path / "programs"
    programs.mkdir()
    shell = shutil.which("bash")

    def start(name, script="exec -a NAME sleep 60", **options):
        program = programs / name
        if not program.exists():
            program.symlink_to(shell)
        argv = [program, "-c", script.replace("NAME", str(program))]
        log = root / "logs" / f"{name}.log"
        pid = processes.start(name, argv, root=root, log=log, **options)
        assert processes.wait_until(lambda: name in processes.find_main(root), 5)
        return pid

    yield root, start
    processes.stop(processes.find(root), root, grace=0.1)


@contextmanager
def bystander():
    """A process of somebody else."""
    with subprocess.Popen([SLEEP, "62"]) as process:  # noqa: S603 - nothing untrusted
        try:
            yield process
        finally:
            process.kill()


def foreign_sleepers(root):
    return {pid for _, pid in processes.find_foreign(("sleep", "bash"), root)}


def environ(**variables):
    return b"\0".join(f"{key}={value}".encode() for key, value in variables.items())


@pytest.mark.parametrize(
    ("variables", "argv", "identity"),
    [
        pytest.param(
            {MARKER: "/c", COMPONENT: "etcd"}, "/x/etcd", ("etcd", True), id="a component"
        ),
        pytest.param(
            {MARKER: "/c", COMPONENT: "containerd"},
            "/usr/bin/containerd-shim",
            ("containerd", False),
            id="what a component started",
        ),
        pytest.param(
            {MARKER: "/other", COMPONENT: "etcd"}, "/x/etcd", None, id="another cluster's"
        ),
        pytest.param(
            {MARKER: "/c2", COMPONENT: "etcd"}, "/x/etcd", None, id="a folder that begins so"
        ),
        pytest.param({"HOME": "/c"}, "/x/etcd", None, id="the same program without the mark"),
        pytest.param({}, "", None, id="a kernel thread or zombie"),
    ],
)
def test_a_process_belongs_to_the_cluster_whose_mark_it_carries(variables, argv, identity):
    command = argv.encode() + b"\0--flag\0"
    assert identify(environ(**variables), command, Path("/c")) == identity


def test_a_started_component_is_found_with_what_it_starts(cluster):
    root, start = cluster
    pid = start("etcd", "sleep 61 & wait")
    assert processes.find_main(root)["etcd"].pid == pid
    assert processes.wait_until(lambda: len(processes.find(root)) == 2, 20)


def test_stop_ends_the_cluster_and_nobody_else(cluster):
    root, start = cluster
    start("etcd", "sleep 61 & wait")
    with bystander() as other:
        processes.stop_all(root)
        assert processes.find(root) == []
        assert other.poll() is None


def test_stop_ends_by_force_what_ignores_a_polite_request(cluster):
    root, start = cluster
    start("etcd", "trap '' TERM; while :; do sleep 0.1; done")
    processes.stop_all(root, grace=0.3)
    assert processes.find(root) == []


def test_a_number_that_now_belongs_to_somebody_else_is_left_alone(cluster):
    root, start = cluster
    start("etcd")
    recorded = processes.find_main(root)["etcd"]
    with bystander() as other:
        reused = processes.Process(other.pid, "etcd", is_main=True, memory=recorded.memory)
        processes.stop([reused], root, grace=0.1)
        assert other.poll() is None


def test_the_log_of_the_previous_start_is_kept_and_no_older_one(cluster):
    root, start = cluster
    for line in ("first", "second", "third"):
        start("etcd", f"echo {line}; exec -a NAME sleep 60")
        log = root / "logs" / "etcd.log"
        assert processes.wait_until(lambda: log.read_text() != "", 5)  # noqa: B023 - used at once
        processes.stop_all(root, grace=0.1)
    assert log.read_text() == "third\n"
    assert log.with_suffix(".previous.log").read_text() == "second\n"
    assert len(list(log.parent.iterdir())) == 2


def test_another_node_on_the_machine_is_noticed_but_not_the_clusters_own(cluster):
    root, start = cluster
    start("etcd", "sleep 61 & wait")
    own = {process.pid for process in processes.find(root)}
    with bystander() as other:
        assert processes.wait_until(lambda: other.pid in foreign_sleepers(root), 5)
        assert own.isdisjoint(foreign_sleepers(root))


def test_a_dead_process_that_nobody_has_asked_after_is_no_other_node(cluster):
    root, _ = cluster
    with subprocess.Popen([SLEEP, "0"]) as ended:  # noqa: S603 - nothing untrusted
        assert processes.wait_until(lambda: is_zombie(ended.pid), 5)
        assert ended.pid not in foreign_sleepers(root)


def is_zombie(pid):
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
