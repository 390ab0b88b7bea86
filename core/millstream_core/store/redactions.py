"""What versions read as since keys were erased from them: other manifests under the same names.

    reference ──► redactions of its lineage ──► not listed: the manifest first written
                                            └─► listed: the redacted one

Channels, releases, quarantines and children name a version by the digest of the manifest first
written, so that digest must not change when an erased key is taken out of its rows. The list is
one object, swapped: all versions of a lineage change in the same instant.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from millstream_api.erasure import Redactions
from millstream_api.manifest import Redacted
from millstream_core.store.errors import IntegrityError, ObjectMissing
from millstream_core.store.layout import redacted_key, redactions_key
from millstream_core.store.objects import DOCUMENT_BYTES

if TYPE_CHECKING:
    from millstream_api.manifest import VersionRef
    from millstream_core.store.objects import ObjectStore


def read_redactions(objects: ObjectStore, lineage: str) -> tuple[Redactions, str | None]:
    """The list, and the tag to swap it by (None: there is none yet).

    Raises:
        IntegrityError: it cannot be read, so it is not known what any version reads as.
    """
    try:
        stored = objects.get(redactions_key(lineage), DOCUMENT_BYTES)
    except ObjectMissing:
        return Redactions(), None
    try:
        return Redactions.parse(stored.data), stored.etag
    except ValidationError as error:
        raise IntegrityError(
            "Malformed", f"the redactions of {lineage} cannot be read: {error}"
        ) from error


def read_redacted(objects: ObjectStore, ref: VersionRef, digest: str) -> Redacted:
    """The redacted manifest of a version; raises IntegrityError where it is not what it must be."""
    key = redacted_key(ref.lineage, ref.version, digest)
    try:
        data = objects.get(key, DOCUMENT_BYTES).data
        manifest = Redacted.parse(data)
    except ObjectMissing as error:
        raise IntegrityError("Truncated", f"{key} is named but not there") from error
    except ValidationError as error:
        raise IntegrityError("Malformed", f"{key} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != digest or manifest.ref() != ref:
        raise IntegrityError("DigestMismatch", f"{key} was altered")
    return manifest
