"""The store's credentials, out of the Secret that a custom resource names.

They go into clients and nowhere else: not into a status, an event, a log line or a label.
Secrets are read one by one, since the right to list them would be the right to read them all.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from millstream_api.conditions import Reason
from millstream_operator.decide.observed import Finding
from millstream_operator.render.pods import ACCESS_KEY, SECRET_KEY
from millstream_operator.shell.errors import Forbidden, NotFound
from millstream_operator.shell.kinds import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_operator.shell.api import ApiClient
    from millstream_operator.shell.kinds import Body

MAX_AGE_SECONDS: Final = 30.0
LARGEST: Final = 10_000  # Secrets remembered


@dataclass(frozen=True)
class Credentials:
    """A key pair of S3."""

    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


class CredentialReader:
    """Reads Secrets, each at most every half minute; belongs to one event loop."""

    def __init__(self, api: ApiClient, clock: Callable[[], float]) -> None:
        """Read nothing yet."""
        self._api = api
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, Credentials | Finding]] = {}

    async def read(self, namespace: str, name: str) -> Credentials | Finding:
        """The credentials in a Secret, or what is wrong with it; raises ApiUnavailable."""
        known = self._known.get((namespace, name))
        if known is not None and self._clock() - known[0] < MAX_AGE_SECONDS:
            return known[1]
        try:
            found = _read(await self._api.get(SECRET, namespace, name), name)
        except NotFound:
            return Finding(
                Reason.SECRET_MISSING,
                f"there is no Secret {name}: create it with the keys {ACCESS_KEY} and {SECRET_KEY}",
            )
        except Forbidden as error:
            return Finding(Reason.SECRET_MISSING, f"Secret {name} cannot be read: {error.message}")
        if len(self._known) >= LARGEST:
            self._known.clear()
        self._known[namespace, name] = (self._clock(), found)
        return found


def _read(secret: Body, name: str) -> Credentials | Finding:
    data = secret.get("data") or {}
    try:
        access, key = (
            base64.b64decode(data[each], validate=True).decode().strip()
            for each in (ACCESS_KEY, SECRET_KEY)
        )
    except (KeyError, binascii.Error, UnicodeDecodeError):
        access = key = ""
    if not access or not key:
        return Finding(
            Reason.SECRET_INCOMPLETE,
            f"Secret {name} needs the keys {ACCESS_KEY} and {SECRET_KEY}, neither of them empty",
        )
    return Credentials(access, key)
