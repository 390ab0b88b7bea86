"""wrk: where it comes from, and what it says."""

from __future__ import annotations

import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.serving import closed_loop
from bench.serving.closed_loop import Measured, ask, read_told, write_script, wrk
from devcluster import debian
from devcluster.commands import DevclusterError


def test_answers_a_second_are_those_that_did_not_fail_in_the_time_it_took():
    told = b'{"requests":1010,"micros":2000000,"failed":10,"p50":1500,"p99":20000}'
    assert read_told(told) == Measured(per_second=500, failed=10, p50=1.5, p99=20)


def test_wrk_gets_one_document_a_line(tmp_path):
    script = write_script(tmp_path, [b'{"items":[1]}', b'{"items":[2]}'])
    assert (tmp_path / "asked.lines").read_bytes() == b'{"items":[1]}\n{"items":[2]}\n'
    assert str(tmp_path / "asked.lines") in script.read_text()


@pytest.mark.parametrize(
    ("method", "asked", "wanted"),
    [
        ("POST", [b'{"a":1}', b"{}"], {("POST", "/rank", '{"a":1}'), ("POST", "/rank", "{}")}),
        ("GET", [b"/of/1", b"/of/2"], {("GET", "/of/1", ""), ("GET", "/of/2", "")}),
    ],
)
def test_wrk_asks_line_by_line(tmp_path, method, asked, wanted):
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed")
    heard = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            heard.append((self.command, self.path, body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            """Not to stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        script = write_script(tmp_path, asked, method)
        url = f"http://127.0.0.1:{server.server_port}/rank"
        told = ask(url, script, connections=1, seconds=1)
        server.shutdown()
    assert told.failed == 0
    assert set(heard) == wanted


@pytest.fixture
def machine(monkeypatch):
    """One without wrk; returns what was installed on it."""
    installed = []
    monkeypatch.setattr("shutil.which", lambda program: program if program in installed else None)
    monkeypatch.setattr(debian, "install", installed.extend)
    monkeypatch.setattr(debian, "is_here", lambda: True)
    monkeypatch.setattr(closed_loop.os, "geteuid", lambda: 0)
    return installed


def test_wrk_is_installed_once_by_root_on_debian(machine):
    assert wrk() == wrk() == ["wrk"]
    assert machine == ["wrk"]


@pytest.mark.parametrize("lacks", ["root", "Debian"])
def test_who_may_not_install_wrk_is_told_to(machine, monkeypatch, lacks):
    if lacks == "root":
        monkeypatch.setattr(closed_loop.os, "geteuid", lambda: 1000)
    else:
        monkeypatch.setattr(debian, "is_here", lambda: False)
    with pytest.raises(DevclusterError, match="apt-get install wrk"):
        wrk()
    assert machine == []
