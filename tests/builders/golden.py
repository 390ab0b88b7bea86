"""Golden files: what was written once and looked at, rewritten by WRITE_GOLDEN=1."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def same_as(path: Path, text: str) -> bool:
    """Whether a file holds exactly this; with WRITE_GOLDEN it does afterwards."""
    if os.environ.get("WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path.exists() and path.read_text(encoding="utf-8") == text
