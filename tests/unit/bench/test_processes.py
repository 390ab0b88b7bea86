"""Servers as trees of processes: ready, measured, and gone afterwards."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.serving import processes
from bench.serving.processes import running
from tests.builders.ports import free_port
from tests.builders.serving import until

# A parent that answers, and a child that does what it is told; each tells its number.
PROGRAM = """
import http.server, multiprocessing, os, pathlib, sys, time

def child():
    {child}
    pathlib.Path("child").write_text(str(os.getpid()))
    time.sleep(600)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("child") else 503)
        self.end_headers()
    def log_message(self, *_):
        pass

if __name__ == "__main__":
    pathlib.Path("child").unlink(missing_ok=True)
    multiprocessing.get_context("fork").Process(target=child).start()
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def start(tmp_path):
    def begin(program):
        (tmp_path / "program.py").write_text(program)
        port = free_port()
        return running(
            "a server",
            [sys.executable, "program.py", str(port)],
            port,
            ready="/ready",
            path="/v1/rank",
            variables={},
            folder=tmp_path,
        )

    return begin


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_the_children_of_a_server_use_counts_as_its_own(start):
    burn = "while time.process_time() < 0.5: pass"
    with start(PROGRAM.format(child=burn)) as server:
        assert server.processor_seconds() >= 0.5
    with start(PROGRAM.format(child="pass")) as server:
        assert server.processor_seconds() < 0.5


def test_memory_that_processes_share_counts_once(start):
    shared = PROGRAM.replace("def child", "held = b'x' * 64_000_000\n\ndef child")
    with start(PROGRAM.format(child="pass")) as server:
        without = server.memory()
    with start(shared.format(child="pass")) as server:
        once = server.memory()
    with start(shared.format(child="own = b'x' * 64_000_000")) as server:
        twice = server.memory()
    assert once - without == pytest.approx(64e6, rel=0.1)
    assert twice - once == pytest.approx(64e6, rel=0.1)


def test_a_server_is_ready_when_it_says_so_and_gone_with_its_children_afterwards(start, tmp_path):
    with start(PROGRAM.format(child="time.sleep(0.2)")) as server:
        child = int((tmp_path / "child").read_text())
        assert server.started > 0.2
        assert server.endpoint == f"{server.url}/v1/rank"
        assert is_running(server.pid)
        assert is_running(child)
    assert not is_running(server.pid)
    until(lambda: not is_running(child), "the child is gone, which the same signal ends")


def test_a_server_that_ends_is_no_server_and_its_last_words_are_told(start):
    with (
        pytest.raises(RuntimeError, match=r"a server ended before it was ready(?s:.*)no model"),
        start("raise SystemExit('there is no model')"),
    ):
        pass


def test_a_server_that_never_is_ready_is_ended(start, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "READY_SECONDS", 0.5)
    told = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); "
    with pytest.raises(RuntimeError, match="not ready within"), start(told + "time.sleep(600)"):
        pass
    pid = tmp_path / "pid"
    assert not pid.exists() or not is_running(int(pid.read_text()))
