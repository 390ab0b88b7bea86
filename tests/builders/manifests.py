"""Manifests with sensible content, each field to be replaced by name."""

from __future__ import annotations

from typing import Any

from millstream_api.manifest import Architecture, Chain, Manifest, Validation, VersionRef

SHA = "ab" * 32


def make_architecture(**fields: Any) -> Architecture:
    known: dict[str, Any] = {
        "name": "DIN",
        "embedding_dim": 8,
        "attention": (64, 32),
        "head": (128, 64),
        "history_length": 5,
    }
    return Architecture(**(known | fields))


def make_manifest(version: int = 1, parent: VersionRef | None = None, **fields: Any) -> Manifest:
    known: dict[str, Any] = {
        "model": "shop",
        "lineage": "0123456789ab",
        "version": version,
        "kind": "base" if parent is None else "delta",
        "parent": parent,
        "chain": Chain(base_version=1, length=0 if parent is None else 1, bytes=0),
        "writer": "shop-trainer-0",
        "writer_epoch": 1,
        "step": 10 * version,
        "created_at": 1_800_000_000.0 + version,
        "watermark": None,
        "positions": {"synthetic": 100 * version},
        "architecture": make_architecture(),
        "transform": SHA,
        "dense": {},
        "tables": {},
        "validation": Validation(events=0),
        "producer": "test",
    }
    return Manifest(**(known | fields))
