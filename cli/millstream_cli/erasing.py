"""`millstream erase`: the answer to a request to be forgotten, with its proof."""

from __future__ import annotations

import secrets
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import orjson

from millstream_cli.places import TRANSFERS, at_a_store, json_option
from millstream_core.erasure.ledger import SALT_BYTES
from millstream_core.erasure.redacting import Redactor
from millstream_core.erasure.requests import erase as erase_keys
from millstream_core.erasure.requests import lift as lift_keys
from millstream_core.features import key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from millstream_api.erasure import ErasureReport, RedactedLineage
    from millstream_cli.places import Place


@click.command()
@at_a_store
@click.option(
    "--table",
    "subject",
    type=click.Choice(["user", "item"]),
    required=True,
    help="Whose keys: those of users also leave histories' rows, those of items their mentions.",
)
@click.option(
    "--key",
    "ids",
    multiple=True,
    required=True,
    help="An id as events have it; may be repeated.",
)
@click.option("--lift", is_flag=True, help="Let keys be learned again; brings nothing back.")
@click.option("--reason", default="", help="Kept in the ledger: write no names here.")
@click.option(
    "--report",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the report as JSON into this file.",
)
@json_option
def erase(
    place: Place,
    *,
    subject: Literal["user", "item"],
    ids: tuple[str, ...],
    lift: bool,
    reason: str,
    file: Path | None,
    as_json: bool,
) -> None:
    """Erase keys from all versions, and prove it.

    Versions keep their names, and channels what they name. Trainers and servers forget the keys by
    themselves within seconds. Can be repeated and broken off at any time: a second run goes on and
    proves anew. Exit status 1 where something still holds a key.
    """
    keys = _keys_of(ids)
    model, salt = place.model, secrets.token_bytes(SALT_BYTES)
    if lift:
        report = lift_keys(
            place.store, place.token, subject, keys, model=model, salt=salt, reason=reason
        )
    else:
        with ThreadPoolExecutor(TRANSFERS) as pool:
            redactor = Redactor(place.store, pool, place.token)
            report = erase_keys(redactor, subject, keys, model=model, salt=salt, reason=reason)
    document = orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    if file is not None:
        file.write_bytes(document)
    click.echo(document if as_json else render(report))
    if not is_done(report):
        sys.exit(1)


def is_done(report: ErasureReport) -> bool:
    """Whether nothing holds a key any more."""
    return report.search is None or not report.search.found


def render(report: ErasureReport) -> str:
    """The report for a person; names keys by the beginnings of their hashes."""
    names = ", ".join(key[:12] for key in report.keys)
    what = "erased" if report.action == "erase" else "let in again"
    lines = [f"{report.subject} {names}: {what} as of entry {report.seq} of the ledger"]
    lines += [summary(done) for done in report.lineages]
    if report.search is not None:
        found = report.search
        lines.append(
            f"searched all {found.objects} objects of {found.bytes:,} bytes: {found.parsed} parsed "
            f"and compared, {found.raw} by their bytes"
        )
        if not found.raw:
            lines.append(
                "keys below 2^32 occur by chance, so only what is parsed was searched for them"
            )
        lines += [f"still holds a key: {key}" for key in found.found]
        lines.append(
            "an attempt under way, or an unreadable version, holds a key: run this again later"
            if found.found
            else "nothing holds a key"
        )
    lines += [f"not taken back: {each}" for each in report.stays]
    return "\n".join(lines)


def summary(done: RedactedLineage) -> str:
    """What was done to a lineage, as one line."""
    unreadable = f", {done.unreadable} versions cannot be read" if done.unreadable else ""
    return (
        f"lineage {done.lineage}: {done.versions} versions redacted, without {done.rows} rows, "
        f"{done.tombstones} tombstones, {done.histories} histories' and {done.candidates} "
        f"candidates' mentions, {done.golden} golden events; {done.objects} objects written anew, "
        f"{done.removed} removed, "
        f"{done.shortcuts} shorter ways dropped{unreadable}"
    )


def _keys_of(ids: Sequence[str]) -> list[int]:
    try:
        return [key_of(each) for each in dict.fromkeys(ids)]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--key") from error
