"""The model store: versions that exist wholly or not at all, and pointers moved by swap."""

from millstream_core.store.errors import (
    AccessDenied,
    IntegrityError,
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    VersionTaken,
    WriterReplaced,
)
from millstream_core.store.models import ModelStore
from millstream_core.store.objects import Listed, ObjectStore, Stored
from millstream_core.store.probing import probe
from millstream_core.store.s3 import S3ObjectStore

__all__ = [
    "AccessDenied",
    "IntegrityError",
    "Listed",
    "ModelStore",
    "ObjectMissing",
    "ObjectStore",
    "PreconditionFailed",
    "S3ObjectStore",
    "StoreError",
    "StoreUnavailable",
    "Stored",
    "VersionTaken",
    "WriterReplaced",
    "probe",
]
