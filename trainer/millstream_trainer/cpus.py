"""How many threads training may use: what the container is allowed, less one for the rest."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")  # "<quota> <period>" in microseconds, or "max …"


def training_threads() -> int:
    """Threads for torch: the allowed CPUs but one, which serves uploads, requests and neighbours.

    torch would take every core of the machine, and be throttled for it inside a CPU limit.
    """
    try:
        quota = CPU_MAX.read_text()
    except OSError:  # no cgroup v2 here: no limit known
        quota = "max"
    return max(1, allowed_cpus(len(os.sched_getaffinity(0)), quota) - 1)


def allowed_cpus(affinity: int, cpu_max: str) -> int:
    """CPUs by affinity and by the text of cgroup v2's cpu.max, whichever is less."""
    quota, _, period = cpu_max.strip().partition(" ")
    if quota == "max":
        return affinity
    return max(1, min(affinity, math.floor(int(quota) / int(period or 100_000))))
