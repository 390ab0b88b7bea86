"""The manifest of a small version, as it is written.

Rewrite with WRITE_GOLDEN=1 and review the difference. Digests and scores depend on
the processor's arithmetic and are masked.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.builders.trainer import Run, VirtualClock, manifests

HERE = Path(__file__).parent


def masked(value: object, name: str = "") -> object:
    if isinstance(value, dict):
        return {key: masked(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, name) for inner in value]
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{64}", value):
        return f"<{len(value)} hex digits>"
    if name in {"auc", "log_loss"}:
        return "<a number>"
    if name == "producer":
        return "<a build>"
    return value


@pytest.mark.parametrize("number", [1, 2], ids=["base", "delta"])
def test_manifest(number: int) -> None:
    run = Run(clock=VirtualClock(seconds=11.5)).run()
    manifest = manifests(run.objects)[number]
    found = json.dumps(masked(manifest.model_dump(mode="json")), indent=2) + "\n"
    golden = HERE / f"manifest-{manifest.kind}.json"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()
