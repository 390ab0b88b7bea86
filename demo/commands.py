"""Running the programs that a person would type, and saying what they said when they fail."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parents[1]
STEP_LIMIT_SECONDS: Final = 180


class InstallationError(Exception):
    """A step failed; the message is for the person at the terminal."""


def run(command: Sequence[str], environment: Mapping[str, str], stdin: str | None = None) -> str:
    """Run a program to its end and return what it printed.

    Raises:
        InstallationError: it failed, with what it said.
    """
    told = f"{' '.join(command[:6])} …"
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=dict(environment),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=STEP_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired as late:
        raise InstallationError(f"{told} did not end within {STEP_LIMIT_SECONDS} s") from late
    if done.returncode:
        raise InstallationError(f"{told} failed: {done.stderr.strip()[-800:]}")
    return done.stdout
