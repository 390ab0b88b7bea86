"""A real S3 server (versitygw) on loopback, for tests of what only a real one can show."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from devcluster.binaries import Binaries
from devcluster.paths import cache_root
from devcluster.progress import Progress
from millstream_api.settings import StoreSettings
from millstream_core.store import S3ObjectStore
from tests.builders.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS = 20
ACCESS_KEY, SECRET_KEY = "millstream", "millstream-secret"


@dataclass(frozen=True)
class S3Server:
    """A running server with one bucket."""

    process: subprocess.Popen[bytes]
    settings: StoreSettings
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY

    def objects(self) -> S3ObjectStore:
        return S3ObjectStore(self.settings, access_key=ACCESS_KEY, secret_key=SECRET_KEY)


@contextmanager
def s3_server(
    directory: Path, port: int = 0, bucket: str = "models", log: Path | None = None
) -> Iterator[S3Server]:
    """Serve `directory`; a second server over the same directory and port continues the first.

    Args:
        directory: of the objects.
        port: to listen on; 0: any.
        bucket: made where it is not there.
        log: gets one line for each request, in the form of S3's access logs.
    """
    data = directory / "s3"
    data.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    endpoint = f"http://127.0.0.1:{port}"
    binary = str(Binaries(cache_root(), Progress()).versitygw())
    command = [binary, "--port", f"127.0.0.1:{port}"]
    command += [] if log is None else ["--access-log", str(log)]
    process = subprocess.Popen(  # noqa: S603 - our own binary
        [*command, "--region", "us-east-1", "posix", str(data)],
        env=os.environ | {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _create_bucket(endpoint, bucket)
        yield S3Server(process, StoreSettings(endpoint=endpoint, bucket=bucket))
    finally:
        process.kill()
        process.wait(timeout=10)


def _create_bucket(endpoint: str, bucket: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.create_bucket(Bucket=bucket)
        except client.exceptions.BucketAlreadyOwnedByYou:
            return
        except (BotoCoreError, ClientError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
