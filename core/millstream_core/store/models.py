"""One model's versions in object storage.

    data objects ──► manifest ──► commit (create-if-absent) ──► channel (compare-and-swap)

Each arrow is taken only when everything before it is durable, and readers walk the other way:
from a channel or a commit to the manifest whose digest it names, and from there to data whose
digests the manifest names. So whatever fails in between, a reader sees the old state or the new
one, and nothing that it cannot check.

A version's name never changes. What it reads as does when keys are erased from it (`redactions`):
`manifest` gives that, whatever the manifest first written says.

Where each of them lies is in `layout.py`; who may write, and how two writers are kept apart, in
`claims.py`.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import orjson
from pydantic import ValidationError

from millstream_api.manifest import (
    FORMAT_VERSION,
    Channel,
    Commit,
    Manifest,
    ObjectRef,
    VersionRef,
)
from millstream_api.upkeep import Claim
from millstream_core.store.claims import claim_epoch, highest_claim
from millstream_core.store.errors import (
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    VersionTaken,
    WriterReplaced,
)
from millstream_core.store.layout import (
    CHANNELS,
    channel_key,
    commit_key,
    commit_of,
    commits_below,
    data_key,
    manifest_key,
    transform_key,
)
from millstream_core.store.objects import DOCUMENT_BYTES, Below
from millstream_core.store.recent import RecentManifests
from millstream_core.store.redactions import read_redacted, read_redactions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from millstream_api.erasure import Redactions
    from millstream_core.store.objects import ObjectStore


class ModelStore:
    """The versions, channels and transforms of one model; safe to share between threads."""

    def __init__(self, objects: ObjectStore, prefix: str, model: str) -> None:
        """Nothing is read or written yet."""
        self.objects: ObjectStore = Below(objects, f"{prefix.strip('/')}/{model}".lstrip("/"))
        self._recent = RecentManifests()
        self._redactions: dict[str, Redactions] = {}  # by lineage, as last read
        self._lock = threading.Lock()

    # Versions

    def commits(self, lineage: str) -> list[int]:
        """The version numbers that exist, ascending."""
        found = [commit_of(listed.key) for listed in self.objects.list(commits_below(lineage))]
        return sorted(commit[1] for commit in found if commit)

    def newest_commit(self, lineage: str) -> tuple[int, Commit] | None:
        """The highest number that is taken, and by whom; None in an empty lineage."""
        numbers = self.commits(lineage)
        return (numbers[-1], self._commit(lineage, numbers[-1])) if numbers else None

    def claim(self, lineage: str, writer: str, token: str) -> int:
        """An epoch for this process to write under, higher than that of any other; see `claims`.

        Args:
            lineage: to be written to.
            writer: its name.
            token: of the process, unlike that of any other.
        """
        newest = self.newest_commit(lineage)
        above = newest[1].writer_epoch if newest else 0
        return claim_epoch(self.objects, lineage, Claim(writer=writer, token=token), above)

    def resolve(self, lineage: str, version: int) -> VersionRef:
        """The reference of a committed version; raises ObjectMissing where there is none."""
        return VersionRef(
            lineage=lineage, version=version, digest=self._commit(lineage, version).digest
        )

    def manifest(self, ref: VersionRef) -> Manifest:
        """What this reference names: the manifest first written, or as it reads since an erasure.

        Raises:
            IntegrityError: its bytes have another digest, or it is of a newer format.
            ObjectMissing: there is none.
        """
        with self._lock:
            redactions = self._redactions.get(ref.lineage)
        if redactions is None:
            self.look_again(ref.lineage)
            redactions = self._redactions[ref.lineage]
        digest = redactions.versions.get(ref.digest, ref.digest)
        known = self._recent.get(digest)
        if known is not None:
            return known
        manifest = (
            self._original(ref)
            if digest == ref.digest
            else read_redacted(self.objects, ref, digest)
        )
        self._recent.keep(digest, manifest)
        return manifest

    def look_again(self, lineage: str) -> bool:
        """Read what the versions of a lineage read as now; whether that has changed.

        For whoever finds an object gone that a manifest names: keys may have been erased since
        it was read.
        """
        found, _ = read_redactions(self.objects, lineage)
        with self._lock:
            before = self._redactions.get(lineage)
            self._redactions[lineage] = found
        return before is not None and before != found

    def _original(self, ref: VersionRef) -> Manifest:
        data = self.objects.get(manifest_key(ref), DOCUMENT_BYTES).data
        if hashlib.sha256(data).hexdigest() != ref.digest:
            raise IntegrityError(
                "DigestMismatch", f"the manifest of version {ref.version} was altered"
            )
        return _parse_manifest(data, ref)

    def ancestry(self, ref: VersionRef, limit: int = 512) -> Iterator[tuple[VersionRef, Manifest]]:
        """This version first, then its parents, at most `limit` of them.

        Raises:
            IntegrityError: a parent is missing or altered (LineageBroken, DigestMismatch …).
        """
        current: VersionRef | None = ref
        for _ in range(limit):
            if current is None:
                return
            try:
                manifest = self.manifest(current)
            except ObjectMissing as error:
                raise IntegrityError(
                    "LineageBroken", f"version {current.version} is named but not there: {error}"
                ) from error
            yield current, manifest
            current = manifest.parent

    def commit(self, manifest: Manifest) -> VersionRef:
        """Make a version exist. Its data must be durable already.

        Raises:
            VersionTaken: another writer has committed this number; nothing was changed.
            WriterReplaced: a newer writer has claimed the lineage. If it did so during this very
                call, the version may exist; nobody will build upon it.
        """
        ref = manifest.ref()
        self._refuse_replaced(manifest)
        self.objects.put(manifest_key(ref), manifest.canonical())
        try:
            self.recommit(manifest)
        except PreconditionFailed as error:
            winner = self._commit(ref.lineage, ref.version)
            existing = VersionRef(lineage=ref.lineage, version=ref.version, digest=winner.digest)
            raise VersionTaken(existing, winner.writer_epoch) from error
        self._refuse_replaced(manifest)
        return ref

    def recommit(self, manifest: Manifest) -> None:
        """Create the commit of a version whose manifest and data are there already.

        Raises:
            PreconditionFailed: the number is taken, by this or by another version.
        """
        ref = manifest.ref()
        record = Commit(
            digest=ref.digest, writer=manifest.writer, writer_epoch=manifest.writer_epoch
        )
        self.objects.put(commit_key(ref.lineage, ref.version), record.canonical(), if_absent=True)

    def _refuse_replaced(self, manifest: Manifest) -> None:
        highest = highest_claim(self.objects, manifest.lineage)
        if highest > manifest.writer_epoch:
            raise WriterReplaced(manifest.lineage, manifest.writer_epoch, highest)

    # Data

    def put_data(self, lineage: str, path: str, data: bytes) -> ObjectRef:
        """Write one object of a version and say what it is.

        Args:
            lineage: of the version.
            path: below the lineage, of the form data/<version>-<attempt>/…
            data: the bytes.
        """
        self.objects.put(data_key(lineage, path), data)
        return ObjectRef(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def get_data(self, lineage: str, obj: ObjectRef) -> bytes:
        """Read one object of a version, verified before anybody parses it.

        Raises:
            IntegrityError: missing or shorter (Truncated), longer (Oversized), or of other content.
        """
        try:
            # Deltas leave most tables alone: nothing is not worth asking for.
            data = (
                self.objects.get(data_key(lineage, obj.path), obj.bytes).data if obj.bytes else b""
            )
        except ObjectMissing as error:
            raise IntegrityError("Truncated", f"{obj.path} is named but not there") from error
        if len(data) != obj.bytes:
            raise IntegrityError("Truncated", f"{obj.path} has {len(data)} bytes, not {obj.bytes}")
        if hashlib.sha256(data).hexdigest() != obj.sha256:
            raise IntegrityError("DigestMismatch", f"{obj.path} was altered")
        return data

    def put_transform(self, document: bytes) -> str:
        """Keep a transform document under its SHA-256 and return that."""
        digest = hashlib.sha256(document).hexdigest()
        self.objects.put(transform_key(digest), document)
        return digest

    def transform(self, digest: str) -> bytes:
        """The transform document of this digest; raises IntegrityError if it is another."""
        data = self.objects.get(transform_key(digest), DOCUMENT_BYTES).data
        if hashlib.sha256(data).hexdigest() != digest:
            raise IntegrityError("DigestMismatch", f"the transform {digest[:12]} was altered")
        return data

    # Channels

    def channels(self) -> list[str]:
        """The names of all channels."""
        return [each.key.removeprefix(CHANNELS) for each in self.objects.list(CHANNELS)]

    def channel(self, name: str) -> tuple[Channel, str] | None:
        """A channel and the tag to move it by; None where nobody has created it."""
        try:
            stored = self.objects.get(channel_key(name), DOCUMENT_BYTES)
        except ObjectMissing:
            return None
        try:
            return Channel.parse(stored.data), stored.etag
        except ValidationError as error:
            raise IntegrityError("Malformed", f"channel {name} cannot be read: {error}") from error

    def move_channel(self, name: str, channel: Channel, *, etag: str | None) -> str:
        """Point a channel elsewhere, if it still is what it was; returns the new tag.

        Raises:
            PreconditionFailed: somebody else moved it.
        """
        key = channel_key(name)
        data = channel.canonical()
        if etag is None:
            return self.objects.put(key, data, if_absent=True)
        return self.objects.put(key, data, if_match=etag)

    def remove_channel(self, name: str) -> None:
        """Forget a channel; fine where there is none."""
        self.objects.delete(channel_key(name))

    def _commit(self, lineage: str, version: int) -> Commit:
        data = self.objects.get(commit_key(lineage, version), DOCUMENT_BYTES).data
        try:
            return Commit.parse(data)
        except ValidationError as error:
            raise IntegrityError(
                "Malformed", f"the commit of version {version} cannot be read: {error}"
            ) from error


def _parse_manifest(data: bytes, ref: VersionRef) -> Manifest:
    try:
        # Read apart from the rest: a newer format may not fit the model below at all.
        needed = orjson.loads(data).get("min_reader_version", 0)
        if needed > FORMAT_VERSION:
            raise IntegrityError(
                "FormatTooNew",
                f"version {ref.version} needs a reader of format {needed}, this program reads "
                f"up to {FORMAT_VERSION}: upgrade it",
            )
        return Manifest.parse(data)
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValidationError) as error:
        raise IntegrityError(
            "Malformed", f"the manifest of version {ref.version} cannot be read: {error}"
        ) from error
