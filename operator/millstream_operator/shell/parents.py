"""A custom resource as read, and the one write of its status.

A status is written only where it differs, by server-side apply, fenced by the object's uid and
resourceVersion: a decision made on an old copy is refused. Where only the rest of the object
changed meanwhile, the status is as decided on and the write is tried again, so that somebody who
edits an object all the time cannot keep us from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import ValidationError

from millstream_api import names
from millstream_api.recserving import RecServingSpec, RecServingStatus
from millstream_api.rectraining import RecTrainingSpec, RecTrainingStatus
from millstream_api.resources import StatusPart, Time
from millstream_operator.render.metadata import Parent
from millstream_operator.shell.api import STATUS_MANAGER
from millstream_operator.shell.errors import Conflict
from millstream_operator.shell.kinds import BY_KIND, is_same

if TYPE_CHECKING:
    from millstream_operator.shell.api import ApiClient
    from millstream_operator.shell.cache import Key, ObjectCache
    from millstream_operator.shell.kinds import Body

Spec = TypeVar("Spec", RecTrainingSpec, RecServingSpec)
Status = TypeVar("Status", RecTrainingStatus, RecServingStatus)

TRIES = 5


class _Dates(StatusPart):
    creation_timestamp: Time


class InvalidObject(Exception):  # noqa: N818 - a state
    """The stored object breaks a rule of this release; the message says which."""


@dataclass(frozen=True)
class Resource(Generic[Spec, Status]):
    """One custom resource as read."""

    key: Key
    parent: Parent
    generation: int
    created: float  # Unix seconds
    annotations: dict[str, str]
    spec: Spec
    status: Status
    body: Body

    @property
    def paused(self) -> bool:
        """Whether a person asks to leave everything as it is."""
        return self.annotations.get(names.ANNOTATION_PAUSE, "").lower() == "true"


def read_parent(body: Body) -> Parent:
    """Who the children belong to."""
    meta = body["metadata"]
    return Parent(body["kind"], meta["namespace"], meta["name"], meta["uid"])


def read_resource(
    key: Key, body: Body, spec: type[Spec], status: type[Status]
) -> Resource[Spec, Status]:
    """Read an object; raises InvalidObject."""
    meta = body["metadata"]
    try:
        asked = spec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidObject(f"spec.{where}: {first['msg']}") from error
    return Resource(
        key=key,
        parent=read_parent(body),
        generation=meta["generation"],
        created=_Dates.model_validate(meta).creation_timestamp.timestamp(),
        annotations=meta.get("annotations") or {},
        spec=asked,
        status=read_status(body, status),
        body=body,
    )


def read_status(body: Body, status: type[Status]) -> Status:
    """The status that the operator wrote; one that cannot be read is as if there were none."""
    try:
        return status.model_validate(body.get("status") or {})
    except ValidationError:
        return status()


class StatusWriter:
    """Writes statuses; belongs to one event loop."""

    def __init__(self, api: ApiClient, cache: ObjectCache) -> None:
        """Write through this client and keep this cache current."""
        self._api = api
        self._cache = cache

    async def write(self, key: Key, body: Body, before: Status, after: Status) -> bool:
        """Write a status if it differs; returns whether it did.

        Args:
            key: the object.
            body: the copy that was decided on.
            before: its status.
            after: what it should be.

        Raises:
            Conflict: the status was changed by another, or the object is another one.
            NotFound: the object is gone.
        """
        if after.document() == before.document():
            return False
        kind = BY_KIND[key.kind]
        for _ in range(TRIES):
            document = _document(body, after)
            try:
                self._cache.put(
                    await self._api.apply(kind, document, STATUS_MANAGER, subresource="status")
                )
            except Conflict:
                live = await self._api.get(kind, key.namespace, key.name)
                self._cache.refresh(live)
                if not is_same(live, body) or read_status(live, type(before)) != before:
                    raise
                body = live
                continue
            return True
        raise Conflict(f"{key} changes faster than its status can be written")


def _document(body: Body, status: RecTrainingStatus | RecServingStatus) -> dict[str, Any]:
    meta = body["metadata"]
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
        "status": status.document(),
    }
