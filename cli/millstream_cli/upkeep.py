"""`millstream compact`, `collect`, and `maintain` for the CronJob: both, and erasures first."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

import click
import orjson

from millstream_api.names import CHANNEL_LATEST
from millstream_cli.erasing import summary
from millstream_cli.places import TRANSFERS, at_a_store, json_option
from millstream_core.erasure.redacting import Redactor
from millstream_core.erasure.requests import finish
from millstream_core.store import StoreError
from millstream_core.upkeep import compaction
from millstream_core.upkeep.collecting import collect as collect_garbage
from millstream_core.upkeep.collecting import preview
from millstream_core.upkeep.retention import RetentionRules

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_api.upkeep import Shortcut
    from millstream_cli.places import Place
    from millstream_core.upkeep.retention import Collection

_DEFAULTS: Final = RetentionRules()


def _keeping(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say what stays."""
    keep = click.option(
        "--keep-versions",
        type=click.IntRange(1),
        default=_DEFAULTS.keep_versions,
        help="Newest versions that stay whatever happens.",
    )
    grace = click.option(
        "--grace-seconds",
        type=click.FloatRange(0),
        default=_DEFAULTS.grace_seconds,
        help="Younger objects stay.",
    )
    return keep(grace(command))


@click.command()
@at_a_store
@json_option
def compact(place: Place, *, as_json: bool) -> None:
    """Make the ways to the newest version shorter: merged deltas, and a base when due.

    Can be repeated and broken off at any time.
    """
    made = _compacted(place)
    if as_json:
        click.echo(orjson.dumps([each.model_dump(mode="json") for each in made]))
        return
    for each in made:
        since = "nothing" if each.since is None else f"version {each.since}"
        size = sum(each.bytes.values())
        click.echo(f"version {each.target} from {since} in one step: {size:,} bytes")
    click.echo(f"{len(made)} made")


@click.command()
@at_a_store
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@_keeping
@json_option
def collect(
    place: Place, *, dry_run: bool, keep_versions: int, grace_seconds: float, as_json: bool
) -> None:
    """Remove what no channel, lease or newest version reaches."""
    rules = RetentionRules(keep_versions, grace_seconds)
    run = preview if dry_run else collect_garbage
    plan = run(place.store, rules, f"millstream-{place.token}")
    if as_json:
        click.echo(_as_json(plan, dry_run=dry_run))
        return
    if dry_run:
        for removal in plan.removals:
            click.echo(f"{removal.key}  {removal.bytes:,} bytes: {removal.why}")
    click.echo(_summary(plan, "would go" if dry_run else "gone"))


@click.command()
@at_a_store
@_keeping
def maintain(place: Place, *, keep_versions: int, grace_seconds: float) -> None:
    """Finish erasures, compact and collect.

    What keeps one of them from being done keeps none of the others.
    """
    problem: StoreError | None = None
    for step in (_erased, _shortened):
        try:
            step(place)
        except StoreError as error:
            problem = error
    rules = RetentionRules(keep_versions, grace_seconds)
    plan = collect_garbage(place.store, rules, f"millstream-{place.token}")
    click.echo(_summary(plan, "gone"))
    if problem is not None:
        raise problem


def _erased(place: Place) -> None:
    """Before compaction, which would carry keys over only to be done again."""
    with ThreadPoolExecutor(TRANSFERS) as pool:
        for done in finish(Redactor(place.store, pool, place.token)):
            click.echo(summary(done))


def _shortened(place: Place) -> None:
    click.echo(f"{len(_compacted(place))} shorter ways made")


def _compacted(place: Place) -> list[Shortcut]:
    latest = place.store.channel(CHANNEL_LATEST)
    newest = None if latest is None else latest[0].target
    if newest is None:
        return []
    with ThreadPoolExecutor(TRANSFERS) as pool:
        compactor = compaction.Compactor(place.store, pool, place.token, _build())
        return compaction.compact(compactor, newest)


def _summary(plan: Collection, done: str) -> str:
    size = sum(removal.bytes for removal in plan.removals)
    return (
        f"{len(plan.removals)} objects of {size:,} bytes {done}; {plan.kept_versions} versions and "
        f"{plan.kept_bytes:,} bytes stay"
    )


def _as_json(plan: Collection, *, dry_run: bool) -> bytes:
    return orjson.dumps(
        {
            "dryRun": dry_run,
            "removed": [
                {"key": each.key, "bytes": each.bytes, "why": each.why} for each in plan.removals
            ],
            "reasons": Counter(each.why for each in plan.removals),
            "keptVersions": plan.kept_versions,
            "keptBytes": plan.kept_bytes,
        },
        option=orjson.OPT_INDENT_2,
    )


def _build() -> str:
    try:
        return f"millstream-cli/{version('millstream')}"
    except PackageNotFoundError:
        return "millstream-cli/unknown"
