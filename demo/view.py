"""The table on the terminal; without a terminal, a line whenever something changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from demo.answers import Log
    from demo.observer import Observation


@dataclass(frozen=True)
class Stage:
    """What is going on and how long it may take."""

    name: str
    waits_for: str
    began: float
    expected: float  # seconds


class View:
    """Shows the present state; `stage` and `show` may be called as often as one likes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._stage = Stage("starting", "", time.time(), 1.0)
        self._last_line = ""

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def stage(self, name: str, waits_for: str, expected: float) -> None:
        """Something new begins."""
        self._stage = Stage(name, waits_for, time.time(), expected)
        self.console.print(f"[bold]{name}[/]: waiting for {waits_for} (about {expected:.0f} s)")

    def say(self, line: str) -> None:
        """Something worth keeping on the screen happened."""
        self.console.print(f"  {line}")

    def show(self, seen: Observation, log: Log) -> None:
        """The state as of now."""
        if self.console.is_terminal:
            self._live.update(Group(self._heading(), _table(seen, log)))
            return
        line = _line(seen)
        if line != self._last_line:
            self._last_line = line
            self.console.print(f"  {line}  requests {len(log.answers)}, failed {len(log.failures)}")

    def _heading(self) -> Text:
        gone = time.time() - self._stage.began
        left = max(self._stage.expected - gone, 0)
        return Text(
            f"{self._stage.name}: {self._stage.waits_for} ({gone:.0f} s, about {left:.0f} s left)",
            style="bold",
        )


def _line(seen: Observation) -> str:
    training, serving = seen.training, seen.serving
    candidate = "-" if serving.candidate_version is None else f"v{serving.candidate_version}"
    return (
        f"published v{training.version}  stable v{serving.stable_version}  candidate {candidate}"
        f" batch {serving.batch} {serving.phase}  {' '.join(seen.reasons)}"
    )


def _table(seen: Observation, log: Log) -> Table:
    training, serving = seen.training, seen.serving
    table = Table(show_header=False)
    auc = training.validation.auc if training.validation else None
    table.add_row(
        "training",
        f"{training.workers} workers, lag {training.lag},"
        f" AUC {'-' if auc is None else f'{auc:.3f}'}",
    )
    table.add_row("published", f"v{training.version}")
    table.add_row("stable", f"v{serving.stable_version} on {serving.servers} servers")
    batches = serving.release.batches if serving.release else 10
    advanced = serving.release.advanced if serving.release else 0
    bar = "█" * advanced + "░" * (batches - advanced)
    candidate = serving.candidate_version
    table.add_row(
        "rollout",
        f"{serving.phase}  {bar} {serving.batch}" + (f"  v{candidate}" if candidate else ""),
    )
    table.add_row(
        "quarantined",
        ", ".join(f"v{entry.version} {entry.reason}" for entry in serving.quarantined) or "-",
    )
    recent = log.by_version(since=time.time() - 5)
    shares = "  ".join(f"v{version} {count}" for version, count in sorted(recent.items()))
    table.add_row("answers, last 5 s", shares or "-")
    table.add_row("requests", f"{len(log.answers)}, failed {len(log.failures)}")
    if seen.reasons:
        table.add_row("conditions", ", ".join(seen.reasons))
    return table
