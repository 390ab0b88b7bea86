"""Scripts in a process of their own, whose memory is nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Allocators keep what one thread frees for others; one arena and prompt return make resident
# memory mean what the program holds.
PROMPT_RETURN = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_MMAP_THRESHOLD_": "65536",
}


def run_script(script: str, *arguments: str, through: tuple[str, ...] = ()) -> str:
    """What a script prints on both ways out; it must end well.

    Args:
        script: Python.
        arguments: of the script.
        through: a command that runs the command behind it.
    """
    done = subprocess.run(  # noqa: S603 - our own script
        [*through, sys.executable, "-c", script, *arguments],
        env=os.environ | PROMPT_RETURN | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def anonymous_memory(process: int | str = "self") -> int:
    """Bytes that a process holds, in memory or swapped out.

    Not its resident set: that also counts pages of libraries, which the kernel takes back when the
    machine is short of memory, and loses what is swapped out. The sums in /proc/self/status lag
    behind by some pages per processor; the rollup walks the page tables (proc(5)).
    """
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    kilobytes = (rollup.split(f"\n{name}:")[1].split()[0] for name in ("Anonymous", "Swap"))
    return sum(map(int, kilobytes)) * 1024
