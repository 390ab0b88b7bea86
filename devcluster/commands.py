"""Running a program and turning its failure into one sentence with the end of what it printed."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

TAIL_LINES = 15


class DevclusterError(Exception):
    """Something a person has to know or do; the message says what, the launcher prints it."""


def run(
    argv: Sequence[str | Path],
    *,
    seconds: float,
    feed: bytes | IO[bytes] | None = None,
    log: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Runs a program to its end and returns what it printed (empty if it went to `log`).

    Args:
        argv: The program and its arguments.
        seconds: After this time it is killed.
        feed: Its standard input, as bytes or as an open file; none by default.
        log: A file that receives both outputs instead.
        env: Variables added to the environment.
        cwd: The folder to run in.

    Raises:
        DevclusterError: The program is missing, failed or took too long.
    """
    words = [str(word) for word in argv]
    options: dict[str, Any] = {
        "cwd": cwd,
        "env": {**os.environ, **env} if env else None,
        "timeout": seconds,
    }
    if isinstance(feed, bytes):
        options["input"] = feed
    else:
        options["stdin"] = feed if feed is not None else subprocess.DEVNULL
    try:
        if log is None:
            done = subprocess.run(words, capture_output=True, check=False, **options)
            printed = bytes(done.stdout).decode(errors="replace")
            complaint = bytes(done.stderr or done.stdout)
        else:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as sink:
                done = subprocess.run(words, stdout=sink, stderr=sink, check=False, **options)
            printed, complaint = "", log.read_bytes()
    except (FileNotFoundError, PermissionError) as missing:
        # Where PATH names a folder that one may not enter, that is what is said of any program.
        raise DevclusterError(f"{words[0]} is not installed") from missing
    except subprocess.TimeoutExpired as late:
        raise DevclusterError(f"{brief(words)} did not end within {seconds:.0f} s") from late
    if done.returncode:
        end = tail(complaint.decode(errors="replace"))
        raise DevclusterError(f"{brief(words)} failed with exit code {done.returncode}:\n{end}")
    return printed


def brief(words: Sequence[str]) -> str:
    """A command as a person would name it: the program and its first arguments."""
    name = Path(words[0]).name
    return " ".join([name, *words[1:4]]) + (" …" if len(words) > 4 else "")


def tail(text: str, lines: int = TAIL_LINES) -> str:
    """The last lines of a text, indented."""
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])
