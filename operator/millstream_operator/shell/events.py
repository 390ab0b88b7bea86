"""Events on the objects they are about: one per transition, repeated ones counted.

An Event is named by the object, the reason and the message, so the same thing said again raises
a count instead of adding an object. A misbehaving object is kept from flooding the API server
by a bucket of its own. An Event that cannot be written is not worth failing for.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from millstream_api.resources import at
from millstream_operator.shell.errors import ApiError
from millstream_operator.shell.kinds import EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_operator.render.metadata import Parent
    from millstream_operator.shell.api import ApiClient

log = logging.getLogger(__name__)

REMEMBERED: Final = 4096
BURST: Final = 20.0  # events at once for one object
PER_SECOND: Final = 0.2  # and in the long run
MESSAGE_LIMIT: Final = 1024


@dataclass
class _Series:
    first: float
    count: int = 0


@dataclass
class _Bucket:
    level: float = field(default=BURST)
    filled_at: float = 0.0


class EventRecorder:
    """Writes Events; belongs to one event loop."""

    def __init__(self, api: ApiClient, wall: Callable[[], float], instance: str) -> None:
        """Write through this client.

        Args:
            api: the client.
            wall: Unix seconds.
            instance: who we are.
        """
        self._api = api
        self._wall = wall
        self._instance = instance
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    async def record(
        self,
        parent: Parent,
        api_version: str,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
    ) -> None:
        """Say that something happened to an object."""
        now = self._wall()
        if not self._allowed(parent.uid, now):
            return
        message = message[:MESSAGE_LIMIT]
        mark = hashlib.sha256(f"{parent.uid}\n{reason}\n{message}".encode()).hexdigest()[:16]
        series = self._series.setdefault(mark, _Series(first=now))
        series.count += 1
        self._series.move_to_end(mark)
        if len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
        body = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"name": f"{parent.name}.{mark}", "namespace": parent.namespace},
            "involvedObject": {
                "apiVersion": api_version,
                "kind": parent.kind,
                "namespace": parent.namespace,
                "name": parent.name,
                "uid": parent.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": series.count,
            "firstTimestamp": _time(series.first),
            "lastTimestamp": _time(now),
            "reportingComponent": "millstream-operator",
            "reportingInstance": self._instance,
            "source": {"component": "millstream-operator"},
        }
        try:
            await self._api.apply(EVENT, body)
        except ApiError as error:
            log.info("an event of %s %s is lost: %s", parent.kind, parent.name, error)

    def _allowed(self, uid: str, now: float) -> bool:
        bucket = self._buckets.setdefault(uid, _Bucket(filled_at=now))
        self._buckets.move_to_end(uid)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        bucket.level = min(BURST, bucket.level + (now - bucket.filled_at) * PER_SECOND)
        bucket.filled_at = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True


def _time(seconds: float) -> str:
    return at(int(seconds)).isoformat().replace("+00:00", "Z")
