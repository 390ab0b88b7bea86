"""Servers as processes of their own: starting and ending them, and what all of them take."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

READY_SECONDS: Final = 180.0
SHOWN: Final = 1000  # characters of what a server that failed has said
END_SECONDS: Final = 20.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    url: str
    path: str  # to which rankings are POSTed
    pid: int
    started: float  # seconds until it was ready

    @property
    def endpoint(self) -> str:
        """Where rankings are asked for."""
        return self.url + self.path

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


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    port: int,
    *,
    ready: str,
    path: str,
    variables: Mapping[str, str],
    folder: Path,
) -> Iterator[Server]:
    """A server that is ready; it and all its processes are ended afterwards.

    Args:
        name: what it is called in reports.
        command: that starts it.
        port: that it is told to listen on.
        ready: path that answers with 200 once it can serve.
        path: to which rankings are POSTed.
        variables: added to the environment.
        folder: to run in.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
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
            yield Server(name, url, path, process.pid, time.monotonic() - began)
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
