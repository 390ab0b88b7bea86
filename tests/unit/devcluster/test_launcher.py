"""The launcher's command line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from devcluster import __main__ as launcher


@pytest.mark.parametrize(
    ("words", "obstacle", "built"),
    [
        ([], None, ["full", "control-plane"]),
        ([], "this needs root", ["control-plane"]),
        (["--shape", "full"], "this needs root", ["full"]),
    ],
    ids=["all that there is", "what can run here", "what is asked for, which says why it cannot"],
)
def test_build_makes(
    monkeypatch: pytest.MonkeyPatch, words: list[str], obstacle: str | None, built: list[str]
) -> None:
    asked: list[str] = []

    class Provider:
        def build(self) -> None:
            """Builds at once."""

    def open_provider(shape: str, _progress: object) -> Provider:
        asked.append(shape)
        return Provider()

    monkeypatch.setattr(launcher, "why_no_cluster", lambda: obstacle)
    monkeypatch.setattr(launcher, "open_provider", open_provider)
    done = CliRunner().invoke(launcher.app, ["build", *words])
    assert done.exit_code == 0, done.output
    assert asked == built
    assert (obstacle or "") in done.output or words
