"""The command itself: which version, which tables, and how it is shown."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import orjson
from rich.console import Console

from millstream_api.names import CHANNEL_LATEST, CHANNEL_STABLE
from millstream_cli.places import TRANSFERS, at_a_store, json_option
from millstream_cli.tables.picture import SUFFIXES, NoMatplotlib, draw, require_matplotlib
from millstream_cli.tables.reading import Reader, read_contents
from millstream_cli.tables.text import render_text
from millstream_core.census import Question
from millstream_core.store import ObjectMissing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream_api.manifest import Manifest, VersionRef
    from millstream_cli.places import Place
    from millstream_core.store import ModelStore

DAY: Final = 86_400.0
TEXT_WIDTH: Final = 100  # columns where there is no terminal to ask


@click.command()
@at_a_store
@click.option(
    "--version",
    "number",
    type=click.IntRange(0),
    help="Number of the version; by default the one that the channel names.",
)
@click.option(
    "--channel",
    type=click.Choice([CHANNEL_LATEST, CHANNEL_STABLE]),
    default=CHANNEL_LATEST,
    help="Names the version, or the lineage of --version.",
)
@click.option("--lineage", help="Of --version; by default the one of the channel.")
@click.option("--table", "names", multiple=True, help="A table; may be repeated. By default all.")
@click.option("--top", type=click.IntRange(0), default=20, help="Hot and dead keys to name.")
@click.option(
    "--dead-after",
    type=click.FloatRange(0, min_open=True),
    default=DAY,
    metavar="SECONDS",
    help="Event time without training from which on a row counts as dead.",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help=f"Draw histograms into this file instead: {', '.join(SUFFIXES)}.",
)
@json_option
def tables(
    place: Place,
    *,
    number: int | None,
    channel: str,
    lineage: str | None,
    names: tuple[str, ...],
    top: int,
    dead_after: float,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Show what is in the tables of a version.

    Rows, keys that wait for one, how often and how long ago rows were trained, hot and dead keys,
    norms, and bytes. Reads the version as a trainer would; changes nothing but for a lease.
    """
    if picture is not None:
        _refuse_picture(picture)
    if lineage is not None and number is None:
        raise click.UsageError("--lineage needs --version: name both, see `millstream versions`")
    ref = _find(place.store, number, channel, lineage)
    asked = _tables_of(place.store.manifest(ref), names)
    with ThreadPoolExecutor(TRANSFERS) as pool:
        reader = Reader(place.store, pool, place.token)
        contents = read_contents(reader, ref, asked, Question(dead_after, top))
    if picture is not None:
        draw(contents, picture)
    if as_json:
        document = contents.model_dump(mode="json", by_alias=True)
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    elif picture is not None:
        click.echo(f"{picture} shows {len(asked)} tables of version {ref}")
    else:
        console = Console()
        width = console.width if console.is_terminal else TEXT_WIDTH
        click.echo(render_text(contents, width), nl=False)


def _refuse_picture(picture: Path) -> None:
    """Before anything is fetched."""
    if picture.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(
            f"{picture} ends in none of {', '.join(SUFFIXES)}", param_hint="--picture"
        )
    try:
        require_matplotlib()
    except NoMatplotlib as error:
        raise click.ClickException(str(error)) from error


def _find(store: ModelStore, number: int | None, channel: str, lineage: str | None) -> VersionRef:
    if lineage is None:
        found = store.channel(channel)
        target = None if found is None else found[0].target
        if target is None:
            raise click.ClickException(
                f"channel {channel} names no version yet: `millstream versions` lists what there is"
            )
        if number is None:
            return target
        lineage = target.lineage
    assert number is not None
    try:
        return store.resolve(lineage, number)
    except ObjectMissing as error:
        raise click.ClickException(
            f"lineage {lineage} has no version {number}: `millstream versions` lists what there is"
        ) from error


def _tables_of(manifest: Manifest, names: Sequence[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in manifest.tables]
    if unknown:
        raise click.BadParameter(
            f"version {manifest.version} has no table {unknown[0]}, it has "
            f"{', '.join(sorted(manifest.tables))}",
            param_hint="--table",
        )
    return tuple(name for name in sorted(manifest.tables) if not names or name in names)
