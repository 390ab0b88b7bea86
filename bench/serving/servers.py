"""Servers as processes of their own: this one, and what people run today.

Peers live in a virtual environment of their own, so that neither side's packages bend the other's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from bench.serving.publishing import Publisher
from millstream_api.release import Release
from millstream_api.settings import ServerSettings
from millstream_core.store import ModelStore
from millstream_serving.engine.warmup import warm_up
from tests.builders.s3_server import free_port, s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.serving.workload import Sizes
    from millstream_api.manifest import VersionRef

READY_SECONDS: Final = 180.0
SHOWN: Final = 1000  # characters of what a server that failed has said
END_SECONDS: Final = 20.0
PEERS: Final = Path(__file__).parent / "peers"
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    url: str
    pid: int
    started: float  # seconds until it was ready

    def processor_seconds(self) -> float:
        """That all its processes have used."""
        return sum(_processor_seconds(pid) for pid in self._pids())

    def memory(self) -> int:
        """Bytes of all its processes; pages that they share count once."""
        return sum(_proportional(pid) for pid in self._pids())

    def _pids(self) -> list[int]:
        family = {self.pid}
        pids = [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]
        children = {pid: _parent(pid) for pid in pids}
        while more := {pid for pid, parent in children.items() if parent in family} - family:
            family |= more
        return sorted(family)


@dataclass(frozen=True)
class Ours(Server):
    """This server, and whoever publishes for it."""

    publisher: Publisher
    release: Path

    def follow(self, ref: VersionRef) -> None:
        """Have it answer with this version."""
        _release(self.release, ref)


@contextmanager
def millstream(folder: Path, sizes: Sizes, *, threads: int) -> Iterator[Ours]:
    """This server, with the model fetched from a real S3 server.

    Its kernels are compiled before it starts, as they are where its image is built.
    """
    warm_up()
    with s3_server(folder) as s3:
        publisher = Publisher(ModelStore(s3.objects(), "", "bench"), sizes)
        release, settings = folder / "release.json", folder / "settings.json"
        _release(release, publisher.base())
        settings.write_bytes(
            ServerSettings(
                model="bench", store=s3.settings, release=f"file:{release}", threads=threads
            ).canonical()
        )
        port = free_port()
        options = [f"--settings={settings}", "--host=127.0.0.1", f"--port={port}", "--linger=0"]
        credentials = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key}
        path = {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-m", "millstream_serving.main", *options]
        with _running("millstream", command, port, "/readyz", credentials | path, folder) as server:
            yield Ours(**vars(server), publisher=publisher, release=release)


def _release(path: Path, ref: VersionRef) -> None:
    """A release of this version for everybody, put in place whole."""
    path.with_suffix(".new").write_bytes(
        Release(epoch=ref.version, salt="s", stable=ref).canonical()
    )
    path.with_suffix(".new").replace(path)


@contextmanager
def peer(
    name: str, environment: Path, model: Path, *, workers: int, is_factored: bool = False
) -> Iterator[Server]:
    """One of PEER_COMMANDS, one torch thread a worker.

    Args:
        name: of the peer.
        environment: virtual environment that it is installed in.
        model: folder of the model's files.
        workers: processes.
        is_factored: whether its model has the cut first attention layer, as ours.
    """
    port = free_port()
    program, *options = PEER_COMMANDS[name](port, workers)
    variables = {"MODEL": str(model), "FACTORED": "1" if is_factored else "0"}
    called = f"{name}, factored" if is_factored else name
    command = [str(environment / "bin" / program), *options]
    with _running(called, command, port, "/healthz", variables, PEERS) as server:
        yield server


def _fastapi(port: int, workers: int) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    return ["uvicorn", "fastapi_app:app", *address, "--no-access-log", "--log-level", "warning"]


def _flask(port: int, workers: int) -> list[str]:
    return ["gunicorn", "flask_app:app", "--bind", f"127.0.0.1:{port}", "--workers", str(workers)]


PEER_COMMANDS: Final = {"FastAPI + uvicorn": _fastapi, "Flask + gunicorn": _flask}


@contextmanager
def _running(
    name: str,
    command: Sequence[str],
    port: int,
    ready: str,
    variables: Mapping[str, str],
    folder: Path,
) -> Iterator[Server]:
    began = time.monotonic()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            env=os.environ | variables,
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait(f"{url}{ready}", process, name, said)
            yield Server(name, url, process.pid, time.monotonic() - began)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)


def _wait(url: str, process: subprocess.Popen[bytes], name: str, said: IO[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said.seek(0)
            last = said.read().decode(errors="replace")[-SHOWN:]
            raise RuntimeError(f"{name} ended before it was ready:\n{last}")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.02)
    raise RuntimeError(f"{name} was not ready within {READY_SECONDS:.0f} s")


def _parent(pid: int) -> int:
    try:
        return int(_stat(pid)[1])
    except OSError:
        return 0  # ended meanwhile


def _processor_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def _stat(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) behind the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _proportional(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(rollup.split("Pss:")[1].split()[0]) * 1024
