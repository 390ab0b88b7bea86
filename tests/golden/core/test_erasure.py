"""The documents of an erasure, byte for byte: they outlive the program that wrote them."""

from __future__ import annotations

from pathlib import Path

from millstream_api.erasure import (
    Erasure,
    ErasureReport,
    RedactedLineage,
    Redactions,
    Salt,
    Search,
)
from millstream_api.manifest import Redacted
from millstream_core.erasure.ledger import Ledger
from tests.builders.golden import same_as
from tests.builders.manifests import make_manifest
from tests.builders.serving import digest_of

GOLDEN = Path(__file__).parent / "erasure.jsonl"
SALT = bytes(range(32))


def test_documents_are_written_as_they_always_were() -> None:
    ledger = Ledger(SALT)
    manifest = make_manifest(version=3)
    documents = [
        Salt(salt=SALT.hex()),
        Erasure(
            seq=1,
            action="erase",
            subject="user",
            keys=(ledger.hashed("user", 4711), ledger.hashed("user", -(2**62))),
            at=1e9,
            reason="asked for",
        ),
        Redactions(seq=1, versions={digest_of("manifest"): digest_of("redacted")}),
        Redacted.model_validate(
            manifest.model_dump() | {"original": manifest.fingerprint(), "erasure_seq": 1}
        ),
        ErasureReport(
            model="shop",
            subject="user",
            action="erase",
            seq=1,
            keys=(ledger.hashed("user", 4711).hash,),
            began_at=1e9,
            ended_at=1e9 + 5,
            lineages=(
                RedactedLineage(
                    lineage="a1b2c3",
                    versions=4,
                    unreadable=0,
                    rows=3,
                    tombstones=1,
                    histories=0,
                    candidates=0,
                    objects=9,
                    shortcuts=1,
                    removed=12,
                ),
            ),
            search=Search(objects=40, bytes=4096, parsed=20, raw=0, found=()),
            stays=("dense weights",),
        ),
    ]
    text = "".join(f"{document.canonical().decode()}\n" for document in documents)
    assert same_as(GOLDEN, text)
    for document, line in zip(documents, GOLDEN.read_text("utf-8").splitlines(), strict=True):
        assert type(document).parse(line) == document


def test_a_redacted_manifest_goes_by_the_name_of_the_one_first_written() -> None:
    manifest = make_manifest(version=3)
    fields = manifest.model_dump() | {"original": manifest.fingerprint()}
    assert Redacted.model_validate(fields).ref() == manifest.ref()
