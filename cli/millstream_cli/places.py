"""Which model store a command works on: options, or the environment, or a settings file."""

from __future__ import annotations

import functools
import os
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from millstream_api.settings import StoreSettings
from millstream_core.store import ModelStore, S3ObjectStore, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

ACCESS_KEY: Final = "AWS_ACCESS_KEY_ID"
SECRET_KEY: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a name
TRANSFERS: Final = 8  # at a time


@dataclass(frozen=True)
class Place:
    """A model in its store."""

    store: ModelStore
    model: str
    token: str  # of this process, unlike that of any other


def at_a_store(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that name a store and a model, and the opened `Place` first.

    What the store refuses or fails to do ends the command with one sentence and exit status 1.
    """

    @click.option("--model", required=True, envvar="MILLSTREAM_MODEL", help="Name of the model.")
    @click.option(
        "--store-endpoint",
        envvar="MILLSTREAM_STORE_ENDPOINT",
        help="URL of the S3 server; without it, AWS itself.",
    )
    @click.option(
        "--store-region",
        envvar="MILLSTREAM_STORE_REGION",
        default="us-east-1",
        show_default=True,
        help="Region of the bucket.",
    )
    @click.option(
        "--store-bucket", required=True, envvar="MILLSTREAM_STORE_BUCKET", help="The bucket."
    )
    @click.option(
        "--store-prefix",
        envvar="MILLSTREAM_STORE_PREFIX",
        default="",
        help="What all keys begin with.",
    )
    @functools.wraps(command)
    def opened(
        *,
        model: str,
        store_endpoint: str | None,
        store_region: str,
        store_bucket: str,
        store_prefix: str,
        **rest: Any,
    ) -> None:
        settings = StoreSettings(
            endpoint=store_endpoint or None,
            region=store_region,
            bucket=store_bucket,
            prefix=store_prefix,
        )
        keys = [os.environ.get(name, "") for name in (ACCESS_KEY, SECRET_KEY)]
        if not all(keys):
            raise click.UsageError(
                f"set {ACCESS_KEY} and {SECRET_KEY} to credentials for bucket {store_bucket}"
            )
        objects = S3ObjectStore(settings, access_key=keys[0], secret_key=keys[1])
        place = Place(ModelStore(objects, store_prefix, model), model, secrets.token_hex(4))
        try:
            command(place, **rest)
        except StoreError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)

    return opened


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
