"""The census as text: first all tables in one, then each by itself."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from millstream_cli.tables.reading import VersionContents
    from millstream_core.census import Bin, TableCensus, Use, UsedKey, Waiting

BAR: Final = 12  # characters of the longest bar
_UNITS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def render_text(contents: VersionContents, width: int) -> str:
    """The census of a version for a person, in lines of so many characters at most."""
    console = Console(file=io.StringIO(), width=width, color_system=None, emoji=False)
    console.print(_heading(contents), markup=False, highlight=False)
    console.print(_overview(contents.tables))
    for table in contents.tables:
        console.print(_details(table), highlight=False)
    assert isinstance(console.file, io.StringIO)
    lines = (line.rstrip() for line in console.file.getvalue().splitlines())
    return "\n".join(lines).rstrip() + "\n"


def duration(seconds: float) -> str:
    """A span of time in the largest unit that it holds twice."""
    unit, name = next(each for each in _UNITS if seconds >= 2 * each[0] or each[0] == 1)
    value = seconds / unit
    return f"{value:.2g} {name}" if value < 10 else f"{value:,.0f} {name}"


def _heading(contents: VersionContents) -> str:
    as_of = "nothing learned" if contents.as_of is None else f"as of {_moment(contents.as_of)}"
    return (
        f"{contents.model} version {contents.version} ({contents.kind}) of lineage "
        f"{contents.lineage}, step {contents.step:,}\n"
        f"published {_moment(contents.created_at)}, {as_of}, "
        f"digest {contents.digest[:12]}\n"
        f"read {contents.fetched.bytes:,} bytes in {contents.fetched.legs} steps\n"
    )


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _overview(tables: Sequence[TableCensus]) -> Table:
    made = _table(
        "table", "rows", "written", "waiting", "dead", "norm p50", "served", "training only"
    )
    for table in tables:
        norm = table.norms.quantiles.get("p50") if table.norms else None
        made.add_row(
            escape(table.table),
            f"{table.rows:,}",
            f"{table.touched:,}",
            ", ".join(_waiting(each) for each in table.waiting) or "-",
            f"{table.use.dead:,}" if table.use else "-",
            "-" if norm is None else f"{norm:.4g}",
            f"{table.bytes.get('serve', 0):,} B",
            f"{table.bytes.get('train', 0):,} B",
        )
    return made


def _waiting(waiting: Waiting) -> str:
    if waiting.keys is not None:
        return f"{waiting.keys:,}"
    if waiting.counters is None:
        return escape(waiting.memory)
    return "in a sketch"


def _details(census: TableCensus) -> Group:
    parts: list[RenderableType] = [f"\n[bold]{escape(census.table)}[/bold]"]
    forms = ", ".join(
        f"{column.name} {column.dtype} × {column.width} ({column.group}, {column.bytes:,} B)"
        for column in census.columns
    )
    parts.append(escape(f"{forms}; a key without a row reads as {census.default_row.policy}"))
    parts += [_remembered(each) for each in census.waiting]
    if census.norms is not None:
        quantiles = "  ".join(f"{name} {at:.4g}" for name, at in census.norms.quantiles.items())
        parts.append(f"norms: {quantiles or 'none'}; rows not finite: {census.norms.not_finite:,}")
    use = census.use
    if use is None:
        parts.append("no account of use is kept")
    elif use.frequencies:
        parts += ["", *_use(use)]
    if census.norms is not None and census.norms.norms:
        parts += ["", _histogram("norm", census.norms.norms, lambda edge: f"{edge:.4g}")]
    return Group(*parts)


def _remembered(waiting: Waiting) -> str:
    name = escape(waiting.memory)
    if waiting.keys is not None:
        seen = ", ".join(
            f"{each.rows:,} seen {_range(each, _count)}" for each in waiting.occurrences
        )
        return f"{name}: {waiting.keys:,} keys wait{f' ({seen})' if seen else ''}"
    if waiting.counters is None or waiting.occupied is None:
        return f"{name}: {waiting.bytes:,} bytes"
    about = (
        "more keys than it can tell"
        if waiting.keys_counted is None
        else f"about {waiting.keys_counted:,.0f} keys, admitted ones included"
    )
    share = waiting.occupied / waiting.counters
    return f"{name}: {share:.2%} of {waiting.counters:,} counters occupied by {about}"


def _use(use: Use) -> list[RenderableType]:
    told = (
        f"trained {use.occurrences:,.0f} times in all; dead rows, not trained for "
        f"{duration(use.dead_after_seconds)} of event time: {use.dead:,}"
    )
    histograms = [
        _histogram("trained, times", use.frequencies, _count),
        _histogram("last trained, ago", use.ages, duration),
    ]
    titled = {"hot key": use.hot_keys, "dead key": use.dead_keys}
    lists = [_keys(title, keys) for title, keys in titled.items() if keys]
    parts: list[RenderableType] = [Columns(histograms), "", told]
    return [*parts, "", Columns(lists)] if lists else parts


def _histogram(title: str, bins: Sequence[Bin], edge: Callable[[float], str]) -> Table:
    made = _table(title, "rows", "share", "")
    total, most = sum(each.rows for each in bins), max(each.rows for each in bins)
    for each in bins:
        bar = "█" * -(-BAR * each.rows // most)
        made.add_row(_range(each, edge), f"{each.rows:,}", f"{each.rows / total:.1%}", bar)
    made.columns[-1].justify = "left"
    return made


def _range(each: Bin, edge: Callable[[float], str]) -> str:
    return f"< {edge(each.high)}" if each.low == 0 else f"{edge(each.low)} to {edge(each.high)}"


def _count(edge: float) -> str:
    return f"{edge:,.0f}"


def _keys(title: str, keys: Sequence[UsedKey]) -> Table:
    made = _table(title, "times", "ago")
    for each in keys:
        times = each.frequency
        said = f"{times:.2g}" if times < 10 else f"{times:,.0f}"
        made.add_row(str(each.key), said, duration(each.age_seconds))
    return made


def _table(*columns: str) -> Table:
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", no_wrap=True)
    return made
