"""The server as a program of its own: settings file, release file, environment, process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from millstream_api.reports import ReplicaReport
from millstream_api.settings import ServerSettings, StoreSettings
from tests.builders.ports import free_port
from tests.builders.s3_server import ACCESS_KEY, SECRET_KEY
from tests.builders.serving import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_api.release import Release

ROOT = Path(__file__).resolve().parents[2]
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
READY_SECONDS = 120.0


def environment(**more: str) -> dict[str, str]:
    """What the program finds around it: no credentials but those given."""
    path = os.pathsep.join(str(ROOT / each) for each in (".", "crds", "core", "serving"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}


def settings_file(folder: Path, **fields: Any) -> Path:
    given = {
        "model": "shop",
        "store": StoreSettings(bucket="models"),
        "release": f"file:{folder}/release.json",
        "latency_budget_millis": 30_000,  # as patient as the clients, however busy the machine
    }
    path = folder / "settings.json"
    path.write_bytes(ServerSettings(**given | fields).canonical())
    return path


def advance(path: Path, release: Release) -> None:
    """Put a release in place whole."""
    aside = path.with_suffix(".new")
    aside.write_bytes(release.canonical())
    aside.rename(path)


@dataclass(frozen=True)
class ServerProcess:
    """A running server."""

    process: subprocess.Popen[bytes]
    port: int
    release_file: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def report(self) -> ReplicaReport:
        return ReplicaReport.parse(httpx.get(f"{self.url}/release", timeout=30).content)


@contextmanager
def server_process(
    folder: Path, store: StoreSettings, release: Release, *, linger: float = 1.0, **fields: Any
) -> Iterator[ServerProcess]:
    """The program, ready; killed at the end if it still runs.

    Args:
        folder: of its files.
        store: where its versions are.
        release: to begin with.
        linger: seconds that it goes on answering after it was told to end.
        fields: further ones of its settings.
    """
    port = free_port()
    release_file = folder / "release.json"
    advance(release_file, release)
    words = [sys.executable, "-m", "millstream_serving.main", "--linger", str(linger)]
    words += ["--settings", str(settings_file(folder, store=store, **fields))]
    words += ["--host", "127.0.0.1", "--port", str(port)]
    log = folder / "server.log"
    with log.open("wb") as said:
        process = subprocess.Popen(  # noqa: S603 - our own program
            words,
            env=environment(**CREDENTIALS, POD_NAME="shop-server-0"),
            stdout=said,
            stderr=said,
        )
    server = ServerProcess(process, port, release_file, log)
    try:
        until(lambda: is_ready(server), "ready", READY_SECONDS)
        yield server
    finally:
        process.kill()
        process.wait(10)


def is_ready(server: ServerProcess) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return httpx.get(f"{server.url}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
