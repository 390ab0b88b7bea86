"""Real trainer processes against a real S3 server: killed, restarted, asked to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millstream_api.settings import SyntheticSource
from millstream_trainer.sources.protocol import Polled
from millstream_trainer.sources.synthetic import SyntheticStream
from tests.builders.ports import free_port
from tests.builders.s3_server import S3Server, s3_server
from tests.builders.trainer import Run, VirtualClock, make_settings, manifests, state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from millstream_api.settings import TrainerSettings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 90.0


@dataclass
class TrainerProcess:
    """`millstream-trainer` on loopback."""

    process: subprocess.Popen[bytes]
    port: int

    @classmethod
    def start(cls, server: S3Server, settings: TrainerSettings, folder: Path) -> TrainerProcess:
        path = folder / "settings.json"
        path.write_bytes(settings.canonical())
        port = free_port()
        command = [sys.executable, "-m", "millstream_trainer", "--settings", str(path)]
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=os.environ
            | {
                "PYTHONPATH": "core:crds:trainer",
                "AWS_ACCESS_KEY_ID": server.access_key,
                "AWS_SECRET_ACCESS_KEY": server.secret_key,
            },
        )
        # One training thread everywhere: sums depend on how they are shared out.
        os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[:2])
        return cls(process, port)

    def progress(self) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/progress"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)

    def wait_for(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, "the trainer ended by itself"
            try:
                progress = self.progress()
            except (urllib.error.URLError, OSError):
                progress = {}
            if progress and condition(progress):
                return progress
            time.sleep(0.05)
        pytest.fail(f"the trainer never got there: {progress}")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


def version_of(progress: dict[str, Any]) -> int:
    return progress["published"]["version"] if progress["published"] else 0


class StopsAt:
    """A stream as if it ended at an offset."""

    def __init__(self, stream: SyntheticStream, offset: int) -> None:
        self._stream, self._offset = stream, offset
        self._at = 0

    def poll(self, limit: int, now: float) -> Polled:
        if self._at >= self._offset:
            return Polled([], {"0": self._at})
        polled = self._stream.poll(limit, now)
        self._at = polled.positions["0"]
        return polled

    def seek(self, positions: Mapping[str, int]) -> None:
        self._stream.seek(positions)
        self._at = positions.get("0", 0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with s3_server(tmp_path) as running:
        yield running


@pytest.fixture
def settings(server: S3Server) -> TrainerSettings:
    """A stream that has run for a minute when the first trainer starts."""
    stream = SyntheticSource(
        start=time.time() - 60, seed=7, users=300, items=200, events_per_second=300
    )
    return make_settings(synthetic=stream, store=server.settings, publish_interval_seconds=0.5)


def test_killed_and_restarted_it_ends_where_one_that_lived_would(
    server: S3Server, settings: TrainerSettings, tmp_path: Path
) -> None:
    published = 0
    for _ in range(2):
        trainer = TrainerProcess.start(server, settings, tmp_path)
        reached = published + 2
        progress = trainer.wait_for(
            lambda progress, reached=reached: version_of(progress) >= reached
        )
        published = version_of(progress)
        assert trainer.end(signal.SIGKILL) == -signal.SIGKILL
    trainer = TrainerProcess.start(server, settings, tmp_path)
    trainer.wait_for(lambda progress: version_of(progress) > published)
    assert trainer.end(signal.SIGTERM) == 0

    versions = manifests(server.objects(), settings)
    newest = versions[max(versions)]
    assert newest.writer_epoch == 3
    assert settings.synthetic is not None
    source = StopsAt(SyntheticStream(settings.synthetic), newest.positions["0"])
    clock = VirtualClock(settings.synthetic.start, seconds=600)
    lived = manifests(Run(settings=settings, source=source, clock=clock).run().objects, settings)
    assert state_of(lived[max(lived)]) == state_of(newest)


def test_asked_to_end_it_publishes_what_is_left(
    server: S3Server, settings: TrainerSettings, tmp_path: Path
) -> None:
    """The interval is so long that only the way out can publish the second version."""
    settings = settings.changed(publish_interval_seconds=1000)
    trainer = TrainerProcess.start(server, settings, tmp_path)
    first = trainer.wait_for(lambda progress: version_of(progress) == 1)
    trainer.wait_for(lambda progress: progress["events"] > first["events"] + 300)
    began = time.monotonic()
    assert trainer.end(signal.SIGTERM) == 0
    assert time.monotonic() - began < 20
    versions = manifests(server.objects(), settings)
    assert list(versions) == [1, 2]
    assert versions[2].positions["0"] > versions[1].positions["0"]


def test_without_its_store_it_trains_and_still_ends_when_asked(
    server: S3Server, settings: TrainerSettings, tmp_path: Path
) -> None:
    server.process.kill()
    server.process.wait(timeout=10)
    trainer = TrainerProcess.start(server, settings, tmp_path)
    progress = trainer.wait_for(lambda progress: progress["events"] > 1000)
    assert progress["phase"] == "Training"
    assert progress["store"]["reason"] == "Unreachable"
    assert "does not answer" in progress["store"]["message"]
    assert trainer.end(signal.SIGTERM) == 0


def test_asked_to_end_while_torch_is_imported_it_ends(
    server: S3Server, settings: TrainerSettings, tmp_path: Path
) -> None:
    """As the first process of a container it would not even notice without a handler."""
    trainer = TrainerProcess.start(server, settings, tmp_path)

    def handles_it() -> bool:
        status = Path(f"/proc/{trainer.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    deadline = time.monotonic() + DEADLINE_SECONDS
    while not handles_it():
        assert time.monotonic() < deadline, "it never handled SIGTERM"
    assert trainer.end(signal.SIGTERM) == 0
