"""The most that a server answers: wrk, whose connections ask again when they are answered."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from pathlib import Path

    from bench.serving.workload import Request

SCRIPT: Final = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local headers, next_body = { ["content-type"] = "application/json" }, 0
request = function()
  next_body = next_body %% #bodies + 1
  return wrk.format("POST", "/v1/rank", headers, bodies[next_body])
end
done = function(summary)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%%d,"micros":%%d,"failed":%%d}',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout + e.status))
end
"""


@dataclass(frozen=True)
class Measured:
    """What one run came to."""

    per_second: float  # answers
    failed: int


def write_script(folder: Path, requests: list[Request]) -> Path:
    """What wrk asks: these requests, round and round."""
    bodies, script = folder / "bodies.jsonl", folder / "ask.lua"
    bodies.write_bytes(b"\n".join(each.body() for each in requests) + b"\n")
    script.write_text(SCRIPT % bodies)
    return script


def ask(url: str, script: Path, *, connections: int, seconds: int) -> Measured:
    """Ask as fast as it answers.

    Raises:
        RuntimeError: wrk is not installed, or failed.
    """
    program = shutil.which("wrk")
    if program is None:
        raise RuntimeError("wrk is not installed: run 'apt-get install wrk'")
    command = [program, "--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
    done = subprocess.run(
        [*command, "--timeout=10s", f"--script={script}", url],
        capture_output=True,
        check=False,
        timeout=seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(f"wrk failed: {done.stderr.decode()[-500:]}")
    told = orjson.loads(done.stderr)
    return Measured(
        per_second=(told["requests"] - told["failed"]) / (told["micros"] * 1e-6),
        failed=told["failed"],
    )
