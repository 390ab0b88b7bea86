"""`millstream versions`, `compact`, `collect` and `erase` against a real S3 server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from millstream_cli.main import millstream
from millstream_core.features import key_of
from tests.builders.s3_server import S3Server, s3_server
from tests.builders.serving import until
from tests.builders.upkeep import assert_whole, make_chain, point, roots_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[S3Server]:
    with s3_server(tmp_path) as running:
        yield running


def run(server: S3Server, *words: str, **changes: str) -> Result:
    environment = {
        "MILLSTREAM_STORE_ENDPOINT": str(server.settings.endpoint),
        "MILLSTREAM_STORE_BUCKET": server.settings.bucket,
        "MILLSTREAM_STORE_PREFIX": "models",
        "MILLSTREAM_MODEL": "shop",
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    return CliRunner().invoke(millstream, list(words), env=environment | changes)


def told(server: S3Server, *words: str) -> Any:
    done = run(server, *words, "--json")
    assert done.exit_code == 0, done.output
    return orjson.loads(done.output)


def test_an_empty_store_is_looked_after_too(server: S3Server) -> None:
    assert "no version has been published yet" in run(server, "versions").output
    assert "0 made" in run(server, "compact").output
    assert "0 objects" in run(server, "collect").output


def test_a_chain_is_made_short_and_what_is_old_goes(server: S3Server) -> None:
    """R16, R17, R18, from the command line."""
    objects = server.objects()
    publisher, refs = make_chain(objects, 9)
    refs.append(publisher.publish(base=True))
    publisher.store.put_data(publisher.lineage, "data/3-dead.1/serve/x", b"1")
    point(publisher, "latest", refs[-2])
    point(publisher, "stable", refs[4])
    point(publisher, "serving-1", refs[4], retained=(refs[4], refs[3]))

    before = {row["version"]: row["fetches"] for row in told(server, "versions")}
    made = told(server, "compact")
    assert {(each["since"] or {}).get("version") for each in made} >= {None, 0, 4}
    after = {row["version"]: row["fetches"] for row in told(server, "versions")}
    assert after[9]["legs"] == 1 < before[9]["legs"] == 10
    assert after[9]["bytes"] < before[9]["bytes"]

    words = ("collect", "--keep-versions", "1", "--grace-seconds", "0")
    plan = told(server, *words, "--dry-run")
    assert plan["dryRun"]
    assert sorted(row["version"] for row in told(server, "versions")) == list(range(11))
    assert "would go" in run(server, *words, "--dry-run").output

    # The store tells ages in whole seconds: what was written in this very one is young.
    until(lambda: told(server, *words, "--dry-run")["removed"], "something to be old")
    done = told(server, *words)
    assert any("data/3-dead.1/" in each["key"] for each in done["removed"])
    assert_whole(objects, roots_of(publisher.store))
    channels = {row["version"]: row["channels"] for row in told(server, "versions")}
    assert (channels[4], channels[3]) == (["serving-1", "stable"], ["serving-1"])


def test_a_second_collector_says_who_is_first(server: S3Server) -> None:
    publisher, _ = make_chain(server.objects(), 1)
    lock = b'{"epoch":1,"holder":"somebody","seconds":3600.0}'
    publisher.store.objects.put("collector", lock)
    done = run(server, "collect")
    assert done.exit_code == 1
    assert "somebody is collecting" in done.output
    assert run(server, "collect", "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        pytest.param({"AWS_ACCESS_KEY_ID": ""}, 2, "set AWS_ACCESS_KEY_ID", id="no credentials"),
        pytest.param({"AWS_ACCESS_KEY_ID": "x"}, 1, "refuses", id="wrong credentials"),
        pytest.param({"MILLSTREAM_STORE_BUCKET": "nowhere"}, 1, "create it", id="no such bucket"),
        pytest.param({"MILLSTREAM_MODEL": ""}, 2, "--model", id="no model"),
        pytest.param(
            {"MILLSTREAM_STORE_ENDPOINT": "http://127.0.0.1:9"}, 1, "does not answer", id="nobody"
        ),
    ],
)
def test_errors_say_what_to_do(
    server: S3Server, changes: dict[str, str], status: int, says: str
) -> None:
    done = run(server, "versions", **changes)
    assert (done.exit_code, says in done.output) == (status, True), done.output


def test_a_user_is_forgotten_and_maintenance_catches_what_comes_late(
    server: S3Server, tmp_path: Path
) -> None:
    """R29, from the command line."""
    objects = server.objects()
    publisher, refs = make_chain(objects, 4)
    width = publisher.architecture.embedding_dim
    row = {key_of("Ada"): np.ones(width, np.float32)}
    refs.append(publisher.publish({"user": row}))
    point(publisher, "latest", refs[-1])
    file = tmp_path / "report.json"
    words = ("erase", "--table", "user", "--key", "Ada", "--key", "7", "--report", str(file))
    done = run(server, *words)
    assert done.exit_code == 0, done.output
    assert "nothing holds a key" in done.output
    assert "Ada" not in done.output
    report = orjson.loads(file.read_bytes())
    assert report["search"]["found"] == []
    assert report["lineages"][0]["versions"] == 6
    assert_whole(objects, refs)
    refs.append(publisher.publish({"user": row}))
    point(publisher, "latest", refs[-1])
    assert "1 versions redacted, without 1 rows" in run(server, "maintain").output
    assert told(server, *words)["search"]["found"] == []
    lifted = told(server, "erase", "--lift", "--table", "user", "--key", "Ada")
    assert (lifted["action"], lifted["seq"]) == ("lift", 2)


def test_an_id_that_has_no_key_cannot_be_erased(server: S3Server) -> None:
    done = run(server, "erase", "--table", "item", "--key", str(2**63))
    assert done.exit_code == 2
    assert "outside the range" in done.output
