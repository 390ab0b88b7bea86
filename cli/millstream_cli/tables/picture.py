"""The census as a picture: a row of three histograms for each table.

matplotlib draws it. It is part of the extra `cli` and of no image, so it is loaded when asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_cli.tables.text import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from millstream_cli.tables.reading import VersionContents
    from millstream_core.census import Bin

SUFFIXES: Final = (".png", ".svg", ".pdf")
LABELS: Final = 8  # at an axis, at most


class NoMatplotlib(Exception):  # noqa: N818 - it is a state
    """There is nothing to draw with."""


def require_matplotlib() -> None:
    """Raise NoMatplotlib, which says what to do, where it is not installed."""
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - see the module's docstring
    except ModuleNotFoundError as error:
        raise NoMatplotlib(
            "pictures need matplotlib, which no image has: run this where "
            "`pip install 'millstream[cli]'` was done, or take --json"
        ) from error


def draw(contents: VersionContents, path: Path) -> None:
    """Draw the histograms of all tables; the path's suffix, one of SUFFIXES, names the format."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see the module's docstring

    figure = Figure(figsize=(12, 0.6 + 2.6 * len(contents.tables)), layout="constrained")
    figure.suptitle(
        f"{contents.model} version {contents.version} of lineage {contents.lineage}, "
        f"{sum(table.rows for table in contents.tables):,} rows"
    )
    axes = figure.subplots(len(contents.tables), 3, squeeze=False)
    for row, table in zip(axes, contents.tables, strict=True):
        use, norms = table.use, table.norms
        row[0].set_ylabel(f"{table.table}: {table.rows:,} rows")
        _bars(row[0], "times trained", use.frequencies if use else (), lambda at: f"{at:g}")
        _bars(row[1], "time since trained last", use.ages if use else (), duration)
        _bars(row[2], "norm", norms.norms if norms else (), lambda at: f"{at:.3g}")
    figure.savefig(path, dpi=120)


def _bars(axes: Axes, title: str, bins: Sequence[Bin], edge: Callable[[float], str]) -> None:
    axes.set_xlabel(title)
    if not bins:
        axes.text(0.5, 0.5, "nothing to show", ha="center", transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.bar(range(len(bins)), [each.rows for each in bins], width=1, align="edge", ec="w")
    axes.set_yscale("symlog", linthresh=1)
    edges = [bins[0].low, *(each.high for each in bins)]
    step = -(-len(edges) // LABELS)
    axes.set_xticks(range(0, len(edges), step), [edge(at) for at in edges[::step]], fontsize=8)
