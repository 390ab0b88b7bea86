"""Erasing keys from a store in memory, and looking for them afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from millstream_core.erasure.redacting import Redactor
from millstream_core.erasure.requests import erase
from millstream_core.store import ModelStore
from tests.builders.mishaps import Inline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millstream_api.erasure import ErasureReport, Subject
    from millstream_core.store import ObjectStore
    from tests.builders.objects import MemoryObjects

SALT = bytes(range(32))


def redactor_at(objects: ObjectStore, run: str = "e1", prefix: str = "models") -> Redactor:
    return Redactor(ModelStore(objects, prefix, "shop"), Inline(), run)


def forget(
    objects: ObjectStore, subject: Subject, *keys: int, run: str = "e1", prefix: str = "models"
) -> ErasureReport:
    """Have keys of the model `shop` erased."""
    redactor = redactor_at(objects, run, prefix)
    return erase(redactor, subject, keys, model="shop", salt=SALT)


def holders(objects: MemoryObjects, keys: Iterable[int]) -> list[str]:
    """The objects in which one of these keys stands, as eight bytes or in digits.

    Keys are to be large: a small number is found by chance.
    """
    found = []
    for key in keys:
        data, digits = int(key).to_bytes(8, "little", signed=True), str(key).encode()
        found += [
            name
            for name, stored in objects.objects.items()
            if data in stored.data or digits in stored.data
        ]
    return sorted(set(found))


def large(key: int) -> int:
    """A key that does not occur by chance."""
    return int(np.int64(key) + np.int64(0x5EED_0000_0000_0000))
