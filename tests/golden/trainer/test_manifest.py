"""The manifest of a small version, as it is written, and where everything of it lies.

Rewrite with WRITE_GOLDEN=1 and review the difference. Digests and scores depend on
the processor's arithmetic and are masked.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.builders.objects import MemoryObjects
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
    compare(f"manifest-{manifest.kind}.json", found)


def test_layout() -> None:
    """R10: every object that a base and a delta leave in the store."""
    run = Run(clock=VirtualClock(seconds=11.5)).run()
    assert isinstance(run.objects, MemoryObjects)
    keys = sorted(run.objects.objects)
    found = "\n".join(re.sub(r"\b([0-9a-f]{12}|[0-9a-f]{64})\b", digits_of, key) for key in keys)
    compare("layout.txt", found + "\n")


def digits_of(found: re.Match[str]) -> str:
    return f"<{len(found[0])} hex digits>"


def compare(name: str, found: str) -> None:
    golden = HERE / name
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(found)
    assert found == golden.read_text()
