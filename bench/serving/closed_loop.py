"""The most that a server answers: wrk, whose connections ask again when they are answered.

How long they wait is told too, but it is what wrk's connections wait, each of which asks nothing
while it does; what users wait is measured in an open loop.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import orjson

from bench.serving.workload import PATIENT
from devcluster import debian
from devcluster.commands import DevclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCRIPT: Final = """
local lines = {}
for line in io.lines("%s") do lines[#lines + 1] = line end
local headers, next_line = { ["content-type"] = "application/json", %s }, 0
request = function()
  next_line = next_line %% #lines + 1
  return wrk.format(%s)
end
done = function(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%%d,"micros":%%d,"failed":%%d,"p50":%%d,"p99":%%d}',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99)))
end
"""


Method = Literal["GET", "POST"]
# What a line of the file is: a path, or a body for the path that wrk is given.
WORDS: Final[dict[Method, str]] = {
    "GET": '"GET", lines[next_line], headers',
    "POST": '"POST", nil, headers, lines[next_line]',
}


@dataclass(frozen=True)
class Measured:
    """What one run came to."""

    per_second: float  # answers
    failed: int
    p50: float  # milliseconds
    p99: float


def write_script(folder: Path, asked: Iterable[bytes], method: Method = "POST") -> Path:
    """What wrk asks, round and round.

    Args:
        folder: for its files.
        asked: documents to POST, or paths to GET, each in one line.
        method: which of both.
    """
    lines, script = folder / "asked.lines", folder / "ask.lua"
    lines.write_bytes(b"".join(each + b"\n" for each in asked))
    patient = ", ".join(f'["{name}"] = "{value}"' for name, value in PATIENT.items())
    script.write_text(SCRIPT % (lines, patient, WORDS[method]))
    return script


def ask(url: str, script: Path, *, connections: int, seconds: int) -> Measured:
    """Ask as fast as it answers.

    Raises:
        DevclusterError: wrk is not installed and cannot be.
        RuntimeError: it failed.
    """
    command = [*wrk(), "--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
    done = subprocess.run(
        [*command, "--timeout=10s", f"--script={script}", url],
        capture_output=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(f"wrk failed: {done.stderr.decode()[-500:]}")
    return read_told(done.stderr)


def read_told(told: bytes) -> Measured:
    """What SCRIPT has wrk say at its end."""
    found = orjson.loads(told)
    return Measured(
        per_second=(found["requests"] - found["failed"]) / (found["micros"] * 1e-6),
        failed=found["failed"],
        p50=found["p50"] * 1e-3,
        p99=found["p99"] * 1e-3,
    )


def wrk() -> list[str]:
    """How wrk is called; installs it on Debian and Ubuntu, as root.

    Raises:
        DevclusterError: it is missing, and may not be installed.
    """
    if shutil.which("wrk") is None:
        if os.geteuid() != 0 or not debian.is_here():
            raise DevclusterError("wrk is not installed: run 'apt-get install wrk' as root")
        print("Installing the Debian package wrk", flush=True)
        debian.install(["wrk"])
    return ["wrk"]
