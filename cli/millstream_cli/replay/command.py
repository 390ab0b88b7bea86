"""`millstream replay`: ask a server what another, or the same, was asked before, and compare.

    kubectl logs deploy/shop-server | millstream replay - --url http://shop-next

Lines are those of spec.requestLog; all others are passed over, so a pod's whole log will do.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

import click
import httpx
import orjson

from millstream_api.names import HEADER_BUDGET
from millstream_cli.places import json_option
from millstream_cli.replay.agreement import Agreement, Answer, agreement, summaries

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATIENCE_SECONDS: Final = 10.0  # for an answer: what is compared is not how soon it comes


@click.command()
@click.argument("lines", type=click.File("rb"))
@click.option("--url", required=True, help="Of the server, for example http://shop.")
@click.option("--limit", type=click.IntRange(1), help="Requests to ask; by default all.")
@json_option
def replay(lines: IO[bytes], *, url: str, limit: int | None, as_json: bool) -> None:
    """Ask a server the requests logged in LINES (- for stdin) and compare its answers.

    Asks one after the other, and counts in the server's metrics like any user.
    """
    refused: Counter[str] = Counter()
    found: list[Agreement] = []
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as client:
        try:
            for number, (request, logged) in enumerate(_logged(lines), 1):
                again = _asked(client, request)
                if isinstance(again, Answer):
                    found.append(agreement(logged, again))
                else:
                    refused[again] += 1
                if number == limit:
                    break
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            click.echo(f"Error: {url} does not answer: {error}", err=True)
            sys.exit(1)
    if not found and not refused:
        click.echo("Error: there is no logged request; is spec.requestLog set?", err=True)
        sys.exit(1)
    document = {
        "answered": len(found),
        "refused": dict(refused),
        "versions": summaries(found),
    }
    if as_json:
        click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    else:
        click.echo("\n".join(_text(document)))


def _logged(lines: Iterable[bytes]) -> Iterator[tuple[dict[str, Any], Answer]]:
    """What was asked, as /v1/rank takes it, and what was answered."""
    for line in lines:
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(document, dict) and document.get("log") == "request":
            answer = document["answer"]
            ids, scores = tuple(answer["ids"]), tuple(answer["scores"])
            yield document["request"], Answer(document["version"], ids, scores)


def _asked(client: httpx.Client, request: dict[str, Any]) -> Answer | str:
    """The server's answer; or the reason why there is none."""
    patience = {HEADER_BUDGET: f"{PATIENCE_SECONDS * 1e3:.0f}"}
    reply = client.post("/v1/rank", content=orjson.dumps(request), headers=patience)
    try:
        body = reply.json()
        if reply.status_code != 200:
            return str(body["error"]["reason"])
        items = body["items"]
        return Answer(
            body["version"],
            tuple(item["id"] for item in items),
            tuple(item["score"] for item in items),
        )
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}, which is no answer of a model server"


def _text(document: dict[str, Any]) -> list[str]:
    asked = document["answered"] + sum(document["refused"].values())
    lines = [f"{document['answered']} of {asked} requests answered"]
    lines += [f"  refused: {count} × {reason}" for reason, count in document["refused"].items()]
    for row in document["versions"]:
        said = (
            f"logged {row['logged']}, answered {row['answered']}: {row['requests']} requests, "
            f"{row['overlap']:.1%} of the items, first the same in {row['sameFirst']:.1%}"
        )
        if row["meanDifference"] is not None:
            said += (
                f", scores apart by {row['meanDifference']:.2g}"
                f" (at most {row['largestDifference']:.2g})"
            )
        lines.append(said)
    return lines
