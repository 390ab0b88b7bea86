"""`millstream tables` of what a trainer published, against a real S3 server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner, Result

from millstream_api.tables import TablesSpec
from millstream_cli.main import millstream
from millstream_core.features import PAD
from millstream_core.tables.usage import FREQUENCY, ONE, TIME, USAGE
from tests.builders.s3_server import S3Server, s3_server
from tests.builders.trainer import Run, VirtualClock, make_settings, manifests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

SETTINGS = make_settings(
    tables=TablesSpec.model_validate(
        {
            "user": {
                "admission": {"counter": {"threshold": 5}},
                "defaultRow": "SharedOov",
                "servedAs": "int8",
            },
            "item": {
                "admission": {"countMin": {"threshold": 3, "width": 1024}},
                "eviction": {"ttl": {"seconds": 6}},
            },
        }
    )
)
DEAD_AFTER = 4.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("tables")) as running:
        yield running


@pytest.fixture(scope="module")
def trained(server: S3Server) -> Run:
    """A trainer that has published some versions, the last one when it ended."""
    return Run(server.objects(), SETTINGS, clock=VirtualClock(seconds=16)).run()


def run(server: S3Server, *words: str, **changes: str) -> Result:
    environment = {
        "MILLSTREAM_STORE_ENDPOINT": str(server.settings.endpoint),
        "MILLSTREAM_STORE_BUCKET": server.settings.bucket,
        "MILLSTREAM_STORE_PREFIX": "tests",
        "MILLSTREAM_MODEL": "shop",
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
    }
    return CliRunner().invoke(millstream, ["tables", *words], env=environment | changes)


def told(server: S3Server, *words: str) -> Any:
    done = run(server, *words, "--json")
    assert done.exit_code == 0, done.output
    return orjson.loads(done.stdout)


def test_what_is_told_is_what_the_trainer_has(server: S3Server, trained: Run) -> None:
    """Of quantised, shared, admitted, waiting and evicted rows alike."""
    newest = max(manifests(server.objects(), SETTINGS).items())[1]
    found = told(server, "--dead-after", str(DEAD_AFTER), "--top", "5")
    assert (found["version"], found["digest"]) == (newest.version, newest.fingerprint())
    assert newest.kind == "delta"
    by_name = {table["table"]: table for table in found["tables"]}
    model = trained.trainer.model
    assert found["step"] == model.step
    for name, live in model.tables.items():
        table, slots = by_name[name], live.all_slots()
        assert table["rows"] == len(live)
        keys = live.keys_at(slots)
        slots, keys = slots[keys != PAD], keys[keys != PAD]
        usage = live.values(USAGE)[slots]
        frequencies = usage[:, FREQUENCY] / ONE
        assert table["use"]["occurrences"] == frequencies.sum()
        dead = np.floor(found["asOf"]) - usage[:, TIME] >= DEAD_AFTER
        assert table["use"]["dead"] == np.count_nonzero(dead)
        hottest = sorted(zip(-frequencies, keys.tolist(), strict=True))[:5]
        assert [each["key"] for each in table["use"]["hotKeys"]] == [str(key) for _, key in hottest]
        if name != "history":
            norms = np.linalg.norm(live.values("rows")[slots].astype(np.float64), axis=1)
            assert table["norms"]["quantiles"]["max"] == pytest.approx(norms.max())
    memory = model.lives["user"].admission.memory["waiting"].snapshot(whole=True)
    assert by_name["user"]["waiting"][0]["keys"] == memory.total > 0
    memory = model.lives["item"].admission.memory["sketch-4x1024"].snapshot(whole=True)
    assert by_name["item"]["waiting"][0]["occupied"] == memory.total > 0
    assert by_name["history"]["waiting"] == []


def test_text_names_the_version_and_all_its_tables(server: S3Server, trained: Run) -> None:
    del trained
    shown = run(server)
    assert shown.exit_code == 0, shown.output
    assert f"shop version {told(server)['version']} (delta)" in shown.output
    for line in ("\nhistory\n", "\nitem\n", "\nuser\n"):
        assert line in shown.output


def test_one_table_of_an_earlier_version(server: S3Server, trained: Run) -> None:
    del trained
    versions = manifests(server.objects(), SETTINGS)
    number = min(versions)
    found = told(server, "--version", str(number), "--table", "item", "--top", "0")
    assert (found["version"], found["kind"]) == (number, "base")
    [table] = found["tables"]
    assert (table["table"], table["rows"]) == ("item", versions[number].tables["item"].rows)
    assert table["use"]["hotKeys"] == []
    lineage = ("--lineage", found["lineage"])
    assert told(server, "--version", str(number), *lineage)["digest"] == found["digest"]


def test_the_store_holds_afterwards_what_it_held_before(server: S3Server, trained: Run) -> None:
    del trained
    before = [(each.key, each.modified) for each in server.objects().list("")]
    told(server)
    assert [(each.key, each.modified) for each in server.objects().list("")] == before


def test_a_picture_is_written_and_said(server: S3Server, trained: Run, tmp_path: Path) -> None:
    del trained
    path = tmp_path / "shop.png"
    done = run(server, "--picture", str(path))
    assert done.exit_code == 0, done.output
    assert done.output == f"{path} shows 3 tables of version {told(server)['version']}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        pytest.param(["--version", "9999"], 1, "has no version 9999", id="no such version"),
        pytest.param(["--table", "items"], 2, "it has history, item, user", id="no such table"),
        pytest.param(["--channel", "stable"], 1, "names no version yet", id="nothing is stable"),
        pytest.param(["--lineage", "a1"], 2, "--lineage needs --version", id="half a name"),
        pytest.param(["--picture", "x.gif"], 2, ".png, .svg, .pdf", id="a picture of what kind"),
    ],
)
def test_errors_say_what_to_do(
    server: S3Server, trained: Run, words: list[str], status: int, says: str
) -> None:
    del trained
    done = run(server, *words)
    assert (done.exit_code, says in done.output) == (status, True), done.output


def test_a_store_without_versions_says_so(server: S3Server) -> None:
    done = run(server, MILLSTREAM_MODEL="nothing")
    assert (done.exit_code, "names no version yet" in done.output) == (1, True), done.output


def test_without_matplotlib_a_picture_says_where_to_get_it_before_anything_is_read(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = run(server, "--picture", "x.png", MILLSTREAM_MODEL="nothing")
    assert (done.exit_code, "millstream[cli]" in done.output) == (1, True), done.output
