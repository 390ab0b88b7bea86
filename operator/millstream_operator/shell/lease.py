"""Leadership by a Lease: one operator acts, others follow the world and wait.

The holder renews every two seconds. Another takes over when it has seen no renewal for fifteen
seconds of its own clock, so clocks need not agree. A holder that could not renew for ten seconds
stops by itself, five before anybody else may begin; each of its writes asks first. On a clean exit
the Lease is given back and the next one need not wait. None of it is trusted for correctness:
statuses are written only over the copy that was read.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import AwareDatetime, TypeAdapter

from millstream_operator.shell.errors import ApiError, Conflict, NotFound, NotLeading
from millstream_operator.shell.kinds import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream_operator.shell.api import ApiClient
    from millstream_operator.shell.kinds import Body

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15
RENEW_DEADLINE_SECONDS: Final = 10.0
RETRY_SECONDS: Final = 2.0
CALL_SECONDS: Final = 4.0
_TIME: Final[TypeAdapter[AwareDatetime]] = TypeAdapter(AwareDatetime)


class LeaseLost(Exception):  # noqa: N818 - a state
    """Somebody else leads, or may: stop at once."""


@dataclass(frozen=True)
class Seen:
    """A Lease as last seen to change, on our own clock."""

    holder: str
    renewed: str
    at: float


def may_take(seen: Seen | None, identity: str, now: float) -> bool:
    """Whether the Lease is free for us.

    Args:
        seen: the Lease as last seen to change; None where there is none.
        identity: ours.
        now: seconds of the clock that `seen.at` was read from.
    """
    if seen is None or seen.holder in {"", identity}:
        return True
    return now - seen.at > LEASE_SECONDS


class Elector:
    """One candidate for leadership; belongs to one event loop."""

    def __init__(
        self,
        api: ApiClient,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """Not leading yet.

        Args:
            api: the client.
            namespace: of the Lease.
            name: of the Lease.
            identity: ours; unique in this life of the process.
            clock: seconds that only grow.
            wall: Unix seconds, for people who read the Lease.
        """
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._wall = wall
        self._seen: Seen | None = None
        self._renewed_at = float("-inf")
        self.leading = False

    async def acquire(self) -> None:
        """Wait until we lead."""
        told = ""
        while True:
            try:
                if await self._try():
                    self.leading = True
                    log.info("leading as %s", self._identity)
                    return
                holder = self._seen.holder if self._seen is not None else ""
                word = f"{holder} leads; waiting"
            except (ApiError, TimeoutError) as error:
                word = f"the Lease {self._namespace}/{self._name} cannot be had: {error}"
            if word != told:
                log.info("%s", word)
                told = word
            await asyncio.sleep(RETRY_SECONDS)

    async def hold(self) -> None:
        """Renew until that fails for too long; raises LeaseLost."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                if not await self._try():
                    self.leading = False
                    raise LeaseLost("somebody else holds the Lease")
            except (ApiError, TimeoutError) as error:
                silent = self._clock() - self._renewed_at
                log.warning("the Lease was not renewed for %.0f s: %s", silent, error)
            if self._clock() - self._renewed_at > RENEW_DEADLINE_SECONDS:
                self.leading = False
                raise LeaseLost(f"the Lease was not renewed for {RENEW_DEADLINE_SECONDS:.0f} s")

    def check(self) -> None:
        """Before each write: raises NotLeading once another one may lead.

        A process that was stopped and goes on finds out here, before its timers do.
        """
        if not self.leading or self._clock() - self._renewed_at > RENEW_DEADLINE_SECONDS:
            raise NotLeading("the Lease was not renewed in time; nothing is written any more")

    async def release(self) -> None:
        """Give the Lease back, so that the next one need not wait."""
        if not self.leading:
            return
        self.leading = False
        try:
            async with asyncio.timeout(CALL_SECONDS):
                lease = await self._api.get(LEASE, self._namespace, self._name)
                if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    lease["spec"] = {**lease["spec"], "holderIdentity": ""}
                    await self._api.replace(LEASE, lease)
        except (ApiError, TimeoutError) as error:
            log.info("the Lease runs out by itself: %s", error)

    async def _try(self) -> bool:
        """Take or renew the Lease if that is ours to do."""
        began = self._clock()
        async with asyncio.timeout(CALL_SECONDS):
            try:
                lease = await self._api.get(LEASE, self._namespace, self._name)
            except NotFound:
                lease = None
            self._observe(lease)
            if not may_take(self._seen, self._identity, self._clock()):
                return False
            try:
                if lease is None:
                    await self._api.create(LEASE, self._body(None))
                else:
                    await self._api.replace(LEASE, self._body(lease))
            except Conflict:
                return False
        self._renewed_at = began
        return True

    def _observe(self, lease: Body | None) -> None:
        if lease is None:
            self._seen = None
            return
        spec = lease.get("spec") or {}
        holder, renewed = spec.get("holderIdentity") or "", str(spec.get("renewTime"))
        if self._seen is None or (self._seen.holder, self._seen.renewed) != (holder, renewed):
            self._seen = Seen(holder, renewed, self._clock())

    def _body(self, lease: Body | None) -> Body:
        now = _TIME.validate_python(self._wall()).isoformat(timespec="microseconds")
        now = now.replace("+00:00", "Z")
        before: dict[str, Any] = (lease or {}).get("spec") or {}
        ours = before.get("holderIdentity") == self._identity
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if ours else 1),
        }
        if lease is not None:
            return {**lease, "spec": spec}
        meta = {"name": self._name, "namespace": self._namespace}
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": meta, "spec": spec}
