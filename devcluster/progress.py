"""Tells a person what the launcher is doing and about how long is left.

In a terminal one live line with a clock; elsewhere (CI, a log file, pytest) plain lines: one when
a step of noticeable length starts, one every half minute, one when it ends.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

NOTICEABLE = 3.0
HEARTBEAT = 30.0


def duration(seconds: float) -> str:
    """A time span as people say it: `0.4 s`, `35 s`, `6 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")


def line(title: str, elapsed: float, expected: float | None) -> str:
    """One step as a line, with the estimate of what is left while it is worth something."""
    if expected is None or expected < NOTICEABLE:
        return f"{title}: {duration(elapsed)}"
    if elapsed < expected:
        return f"{title}: {duration(elapsed)}, about {duration(expected - elapsed)} left"
    return f"{title}: {duration(elapsed)}, longer than the usual {duration(expected)}"


class Progress:
    """Prints steps; nest them freely, only the innermost is live."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live_lock = threading.Lock()

    def say(self, text: str) -> None:
        """Prints one line that stays."""
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, expected: float | None = None) -> Iterator[None]:
        """Shows `title` while the block runs and how long it took when it has ended.

        Args:
            title: What is being done, in the form "compiling Kubernetes".
            expected: Seconds it usually takes; none where it cannot be known.
        """
        began = time.monotonic()
        ended = threading.Event()
        shown = threading.Thread(target=self._show, args=(title, expected, began, ended))
        shown.start()
        try:
            yield
        except BaseException:
            ended.set()
            shown.join()
            self.say(f"✗ {title}: gave up after {duration(time.monotonic() - began)}")
            raise
        ended.set()
        shown.join()
        self.say(f"✓ {title}: {duration(time.monotonic() - began)}")

    def _show(
        self, title: str, expected: float | None, began: float, ended: threading.Event
    ) -> None:
        if self._console.is_terminal and self._live_lock.acquire(blocking=False):
            try:
                spinner = Spinner("dots")
                with Live(spinner, console=self._console, transient=True):
                    while not ended.wait(0.2):
                        spinner.update(text=line(title, time.monotonic() - began, expected))
            finally:
                self._live_lock.release()
            return
        if expected is not None and expected >= NOTICEABLE:
            self.say(f"… {title} (about {duration(expected)})")
        while not ended.wait(HEARTBEAT):
            self.say(f"… {line(title, time.monotonic() - began, expected)}")


def quiet() -> Progress:
    """Progress that goes nowhere, for callers that are themselves tests."""
    return Progress(Console(quiet=True, file=sys.stderr))
