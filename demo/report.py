"""The summary: rows of measured figures, each held against its bar, as a table and as JSON.

The form of the file is that of every report of the project:
`{"name", "commit", "machine", "rows": [{"what", "value", "unit", "against", "ratio", "bar",
"holds", "runs"}]}`.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure measured in this run."""

    what: str
    value: float | None
    unit: str
    bar: str = ""  # as a person reads it: "≤ 60"
    holds: bool | None = None  # None: there is no bar
    against: str | None = None
    ratio: float | None = None
    runs: int = 1


def at_most(what: str, value: float | None, bar: float, unit: str) -> Row:
    """A figure that must not be larger; one that was not measured does not hold."""
    holds = value is not None and value <= bar
    return Row(what=what, value=value, unit=unit, bar=f"≤ {bar:g}", holds=holds)


def at_least(what: str, value: float | None, bar: float, unit: str) -> Row:
    """A figure that must not be smaller; one that was not measured does not hold."""
    holds = value is not None and value >= bar
    return Row(what=what, value=value, unit=unit, bar=f"≥ {bar:g}", holds=holds)


def write_report(path: Path, name: str, rows: list[Row]) -> None:
    """Put the report where the tools look for it."""
    document = {
        "name": name,
        "commit": _commit(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def as_table(rows: list[Row]) -> Table:
    """The rows for a terminal."""
    table = Table(title="measured in this run", title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("bar", justify="right")
    table.add_column("holds")
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.4g}"
        verdict = {None: "", True: "[green]yes[/]", False: "[red]NO[/]"}[row.holds]
        table.add_row(row.what, value, row.unit, row.bar, verdict)
    return table


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return done.stdout.strip() or "unknown"
