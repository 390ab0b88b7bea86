"""Transform documents and what they make of a context: what was trained must be served for ever.

`transforms.txt` holds a document, its fingerprint, and the keys and floats of some
contexts, as written once. Rewrite with WRITE_GOLDEN=1 only to add lines: a changed one would make
another lineage of every model that has it, or skew nobody sees.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import orjson

from millstream_core.features import ContextFeatures, Transform, read_context
from tests.builders.features import DOCUMENTS, HOSTILE, make_features
from tests.builders.golden import same_as

GOLDEN = Path(__file__).parent / "transforms.txt"
PLAIN = b"""{"format_version":1,"history_length":50,"history_table":"history",\
"ids":"int64-or-xxh64","item_table":"item","user_table":"user"}"""
CONTEXTS = [{}, *({each["name"]: value for each in DOCUMENTS} for value in HOSTILE)]


def lines(transform: Transform) -> list[str]:
    """A document and what it does, to the bit."""
    features = ContextFeatures(transform.features)
    encoded = features.encode([read_context(context) for context in CONTEXTS])
    return [
        transform.canonical().decode(),
        transform.fingerprint(),
        *(
            f"{orjson.dumps(keys.tolist()).decode()} {floats.tobytes().hex()}"
            for keys, floats in zip(encoded.keys, encoded.floats, strict=True)
        ),
    ]


def test_transforms():
    """R30: the document, its digest and every bit of what it does stay what they are."""
    every_kind = Transform(history_length=50, features=make_features())
    assert same_as(GOLDEN, "\n".join(lines(every_kind)) + "\n")


def test_a_document_of_before_there_were_features_is_read_and_keeps_its_fingerprint():
    """R30: versions in the store name the digest of these very bytes."""
    transform = Transform.parse(PLAIN)
    assert transform.canonical() == PLAIN
    assert transform.fingerprint() == hashlib.sha256(PLAIN).hexdigest()
    assert Transform(history_length=50).canonical() == PLAIN


def test_a_document_is_read_as_it_was_written():
    transform = Transform(history_length=50, features=make_features())
    assert Transform.parse(transform.canonical()) == transform
    assert Transform.parse(transform.canonical()).canonical() == transform.canonical()
