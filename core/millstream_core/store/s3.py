"""Object storage over S3, by boto3: explicit time limits, our own reading of its errors.

Conditional writes follow the S3 API: `If-None-Match: *` creates, `If-Match: <etag>` swaps; 412
says lost, 409 says that another conditional write is under way and to try again
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). A reply can be
lost after the write was done; then, and after any 412, the object is read back: if it holds our
bytes, this write has won.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from millstream_core.store.errors import (
    AccessDenied,
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
    refuse_oversized,
)
from millstream_core.store.objects import Listed, Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from millstream_api.settings import StoreSettings

CONNECT_TIMEOUT_SECONDS: Final = 2
READ_TIMEOUT_SECONDS: Final = 10
CONFLICT_TRIES: Final = 5
# As many connections as a publisher or a reader uses threads.
CONNECTIONS: Final = 16

# versitygw answers 404 XAdminUserNotFound to an unknown access key: taken for a missing object it
# would make a trainer believe that nothing was ever published.
_DENIED: Final = frozenset({"XAdminUserNotFound"})
_MISSING: Final = frozenset({"NoSuchKey", "404"})


class S3ObjectStore:
    """One bucket of an S3 server."""

    def __init__(self, settings: StoreSettings, *, access_key: str, secret_key: str) -> None:
        """Prepare a client; nothing is sent yet."""
        self._bucket = settings.bucket
        self._where = settings.endpoint or f"S3 in {settings.region}"
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.endpoint,
            region_name=settings.region,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                retries={"total_max_attempts": 2, "mode": "standard"},
                max_pool_connections=CONNECTIONS,
                # Servers other than AWS trip over the newer default; our manifests carry SHA-256.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path" if settings.endpoint else "auto"},
            ),
        )

    def get(self, key: str, at_most: int | None = None) -> Stored:
        """See ObjectStore."""
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
            with answer["Body"] as body:
                refuse_oversized(key, answer["ContentLength"], at_most)
                return Stored(body.read(), answer["ETag"])
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, key) from error

    def put(
        self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None
    ) -> str:
        """See ObjectStore."""
        conditions: dict[str, str] = {}
        if if_absent:
            conditions["IfNoneMatch"] = "*"
        if if_match is not None:
            conditions["IfMatch"] = if_match
        for _ in range(CONFLICT_TRIES):
            try:
                answer = self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=data,
                    **conditions,  # type: ignore[arg-type]
                )
                return answer["ETag"]
            except (BotoCoreError, ClientError) as error:
                if _status(error) == 409:
                    continue
                explained = self._explained(error, key)
                if conditions and isinstance(explained, StoreUnavailable | PreconditionFailed):
                    mine = self._read_back(key, data)
                    if mine is not None:
                        return mine
                raise explained from error
        raise StoreUnavailable(f"{self._where} kept answering 409 for {key}")

    def list(self, prefix: str) -> Iterator[Listed]:
        """See ObjectStore."""
        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    yield Listed(entry["Key"], entry["Size"], entry["LastModified"].timestamp())
        except (BotoCoreError, ClientError) as error:
            raise self._explained(error, prefix) from error

    def delete(self, key: str) -> None:
        """See ObjectStore."""
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            explained = self._explained(error, key)
            if not isinstance(explained, ObjectMissing):
                raise explained from error

    def _read_back(self, key: str, data: bytes) -> str | None:
        """The tag of the object if it holds exactly these bytes."""
        try:
            found = self.get(key)
        except StoreError:
            return None
        return found.etag if found.data == data else None

    def _explained(self, error: BotoCoreError | ClientError, key: str) -> StoreError:
        if isinstance(error, BotoCoreError):
            return StoreUnavailable(f"{self._where} does not answer: {error}")
        code = error.response["Error"]["Code"]
        status = _status(error)
        if code == "NoSuchBucket":
            return AccessDenied(f"{self._where} has no bucket {self._bucket}: create it")
        if code in _DENIED or status in {401, 403}:
            return AccessDenied(
                f"{self._where} refuses these credentials for bucket {self._bucket} ({code})"
            )
        # S3 answers 404 to If-Match on a key that is gone: for a swap that is a lost race.
        if status == 412 or (code in _MISSING and error.operation_name == "PutObject"):
            return PreconditionFailed(key)
        if code in _MISSING:
            return ObjectMissing(key)
        return StoreUnavailable(f"{self._where} answers {status} {code} for {key}")


def _status(error: BotoCoreError | ClientError) -> int:
    if isinstance(error, ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return 0
