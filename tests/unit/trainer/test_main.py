"""The program's edges: settings and surroundings that make no sense end it with one sentence."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from millstream_api.settings import MovielensSource, SyntheticSource
from millstream_api.tables import TablesSpec
from millstream_core.tables.overflow import OverflowFull
from millstream_trainer import main as program
from millstream_trainer.main import main
from tests.builders.features import make_features
from tests.builders.trainer import START, make_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Any:
    """Runs the program to its end; returns its exit status and last words."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(program.os, "_exit", leave)
    monkeypatch.setattr(program.signal, "signal", lambda *_: None)

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--host", "127.0.0.1"])
        return int(str(ended.value.code)), caplog.records[-1].getMessage()

    return run


def settings_file(directory: Path, **overrides: Any) -> str:
    path = directory / "settings.json"
    path.write_bytes(make_settings(**overrides).canonical())
    return str(path)


def test_settings_that_are_not_there(ends: Any, tmp_path: Path) -> None:
    status, words = ends("--settings", str(tmp_path / "nothing.json"))
    assert status == 2
    assert "name the file with --settings" in words


def test_settings_that_are_not_valid(ends: Any, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"model": "shop"}')
    status, words = ends("--settings", str(path))
    assert status == 2
    assert "store" in words


@pytest.mark.parametrize(
    ("sources", "advice"),
    [
        ({"synthetic": None}, "set `synthetic` or `movielens`"),
        ({"movielens": MovielensSource(start=START)}, "leave one of them out"),
        ({"synthetic": SyntheticSource(start=START, users=0)}, "at least one user"),
    ],
    ids=["no source", "two sources", "a source of nothing"],
)
def test_a_source_that_makes_no_sense(
    ends: Any, tmp_path: Path, sources: dict[str, Any], advice: str
) -> None:
    status, words = ends("--settings", settings_file(tmp_path, **sources), "--port", "0")
    assert status == 2
    assert advice in words


def test_features_that_make_no_sense(ends: Any, tmp_path: Path) -> None:
    falling = make_features({"name": "hour", "bucket": {"boundaries": [12, 6]}})
    status, words = ends("--settings", settings_file(tmp_path, features=falling), "--port", "0")
    assert status == 2
    assert "feature hour must list boundaries that rise" in words


def test_no_credentials(ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    status, words = ends("--settings", settings_file(tmp_path))
    assert status == 2
    assert "AWS_SECRET_ACCESS_KEY" in words


def test_a_port_that_is_taken(ends: Any, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        status, words = ends("--settings", settings_file(tmp_path), "--port", port)
    assert status == 2
    assert f"127.0.0.1:{port}" in words
    assert "--port" in words


MEMORY = {"item": {"memory": {"budget": "1Mi", "overflow": "1Gi"}}}


def test_a_disk_that_is_not_there(ends: Any, tmp_path: Path) -> None:
    settings = settings_file(
        tmp_path, tables=TablesSpec.model_validate(MEMORY), overflow_folder=str(tmp_path / "none")
    )
    status, words = ends("--settings", settings, "--port", "0")
    assert status == 2
    assert words.startswith("table item: rows beyond the memory budget cannot be kept in")


def test_no_room_for_more_rows(ends: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OverflowFull("give it more")

    monkeypatch.setattr(program.Trainer, "run", refuse)
    status, words = ends("--settings", settings_file(tmp_path), "--port", "0")
    assert (status, words) == (1, "give it more")
