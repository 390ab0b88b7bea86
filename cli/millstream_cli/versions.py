"""`millstream versions`: what exists of a model, newest first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import orjson

from millstream_api.names import CHANNEL_LATEST, CHANNEL_STABLE
from millstream_cli.places import at_a_store, json_option
from millstream_core.checkpoint import find_way
from millstream_core.store import IntegrityError, ObjectMissing
from millstream_core.store.layout import lineage_of

if TYPE_CHECKING:
    from millstream_cli.places import Place
    from millstream_core.store import ModelStore


@click.command()
@at_a_store
@click.option("--limit", type=click.IntRange(1), default=20, help="Versions of each lineage.")
@json_option
def versions(place: Place, *, limit: int, as_json: bool) -> None:
    """List the versions of a model, and what a server fetches to start with each."""
    rows = gather_versions(place.store, limit)
    if as_json:
        click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    if not rows:
        click.echo("no version has been published yet")
    for row in rows:
        click.echo(_line(row))


def gather_versions(store: ModelStore, limit: int) -> list[dict[str, Any]]:
    """Each version as a document, newest of each lineage first.

    Args:
        store: of the model.
        limit: versions of each lineage.
    """
    channels = _channels(store)
    lineages = {lineage_of(listed.key) for listed in store.objects.list("")}
    rows = []
    for lineage in sorted(lineage for lineage in lineages if lineage):
        for number in reversed(store.commits(lineage)[-limit:]):
            ref = store.resolve(lineage, number)
            row: dict[str, Any] = {
                "lineage": lineage,
                "version": number,
                "digest": ref.digest,
                "channels": channels.get(ref.digest, []),
            }
            try:
                manifest = store.manifest(ref)
                _, legs = find_way(store, ref, held=(), groups=("serve",))
            except (IntegrityError, ObjectMissing) as error:
                rows.append(row | {"problem": str(error)})
                continue
            row |= {
                "kind": manifest.kind,
                "parent": manifest.parent.version if manifest.parent else None,
                "createdAt": datetime.fromtimestamp(manifest.created_at, UTC).isoformat(),
                "writer": manifest.writer,
                "writerEpoch": manifest.writer_epoch,
                "rows": {name: table.rows for name, table in manifest.tables.items()},
                "auc": manifest.validation.auc,
                "chain": manifest.chain.length,
                "fetches": {"legs": len(legs), "bytes": sum(leg.cost(("serve",)) for leg in legs)},
            }
            rows.append(row)
    return rows


def _channels(store: ModelStore) -> dict[str, list[str]]:
    """Names by digest."""
    found: dict[str, list[str]] = {}
    for name in store.channels():
        channel = store.channel(name)
        if channel is None:
            continue
        if channel[0].target is not None and name in {CHANNEL_LATEST, CHANNEL_STABLE}:
            found.setdefault(channel[0].target.digest, []).append(name)
        for ref in channel[0].retained:
            found.setdefault(ref.digest, []).append(name)
    return found


def _line(row: dict[str, Any]) -> str:
    start = f"{row['lineage']}  {row['version']:>8}  "
    names = ",".join(row["channels"])
    if "problem" in row:
        return f"{start}unreadable: {row['problem']}  {names}".rstrip()
    rows = sum(row["rows"].values())
    fetched = row["fetches"]
    return (
        f"{start}{row['kind']:<5}  {row['createdAt'][:19]}Z  {rows:>11,} rows  "
        f"{fetched['bytes']:>13,} bytes in {fetched['legs']:>3} steps  {names}"
    ).rstrip()
