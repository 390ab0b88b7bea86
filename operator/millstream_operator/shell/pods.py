"""What pods are, and what they say of themselves over the pod network.

A pod that does not answer within two seconds is unknown, not broken; nothing here raises. Only
pods found by our own labels are asked, on the port that they name, without following redirects
and without reading more than a report can be.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import aiohttp
from pydantic import ValidationError

from millstream_api.names import HTTP_PORT_NAME
from millstream_api.reports import Progress, ReplicaReport
from millstream_operator.decide.observed import Replica
from millstream_operator.decide.training import Worker

if TYPE_CHECKING:
    from millstream_api.wire import Wire
    from millstream_operator.shell.kinds import Body

T = TypeVar("T", bound="Wire")

TIMEOUT: Final = aiohttp.ClientTimeout(total=2)
LARGEST_REPORT: Final = 1 << 20
# A waiting container's reason says what is wrong; these two only say that it takes a moment.
_NORMAL: Final = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True)
class PodView:
    """What the API server knows of one pod."""

    name: str
    ready: bool
    address: str | None  # of its HTTP port; None before it has one
    restarts: int
    problem: str
    ending: bool


def view_pod(pod: Body) -> PodView:
    """Read a Pod object."""
    status = pod.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    containers = status.get("containerStatuses") or ()
    port = next(
        (
            each["containerPort"]
            for container in pod["spec"].get("containers") or ()
            for each in container.get("ports") or ()
            if each.get("name") == HTTP_PORT_NAME
        ),
        None,
    )
    address = status.get("podIP")
    host = f"[{address}]" if address and ":" in address else address
    ending = pod["metadata"].get("deletionTimestamp") is not None or status.get("phase") in {
        "Failed",
        "Succeeded",
    }
    return PodView(
        name=pod["metadata"]["name"],
        ready=conditions.get("Ready", {}).get("status") == "True" and not ending,
        address=f"http://{host}:{port}" if host and port else None,
        restarts=sum(each.get("restartCount", 0) for each in containers),
        problem=_problem(conditions.get("PodScheduled", {}), containers),
        ending=ending,
    )


def _problem(scheduled: Body, containers: list[Body] | tuple[Body, ...]) -> str:
    """Why the pod does not run, in words that stay the same while it does not."""
    if scheduled.get("reason") == "Unschedulable":
        return f"Unschedulable: {scheduled.get('message', '')}"
    for each in containers:
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if not reason or reason in _NORMAL:
            continue
        # Other messages hold a back-off that changes all the time.
        told = waiting.get("message", "") if reason == "CreateContainerConfigError" else ""
        return f"{reason}: {told}" if told else str(reason)
    return ""


class PodReader:
    """Asks pods; belongs to one event loop."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use this session for all of them."""
        self._session = session

    async def replicas(self, pods: list[Body]) -> tuple[Replica, ...]:
        """The servers among these pods that are not ending, with their reports."""
        views = [view for pod in pods if not (view := view_pod(pod)).ending]
        reports = await asyncio.gather(
            *(self._ask(view, "/release", ReplicaReport) for view in views)
        )
        return tuple(
            Replica(
                name=view.name,
                ready=view.ready,
                report=report,
                restarts=view.restarts,
                problem=view.problem,
            )
            for view, report in zip(views, reports, strict=True)
        )

    async def workers(self, pods: list[Body]) -> tuple[Worker, ...]:
        """The trainers among these pods that are not ending, with their progress."""
        views = [view for pod in pods if not (view := view_pod(pod)).ending]
        told = await asyncio.gather(*(self._ask(view, "/progress", Progress) for view in views))
        return tuple(
            Worker(name=view.name, ready=view.ready, progress=progress, problem=view.problem)
            for view, progress in zip(views, told, strict=True)
        )

    async def _ask(self, view: PodView, path: str, kind: type[T]) -> T | None:
        if view.address is None:
            return None
        try:
            async with self._session.get(
                f"{view.address}{path}", timeout=TIMEOUT, allow_redirects=False
            ) as answer:
                if answer.status != 200:
                    return None
                raw = await answer.content.read(LARGEST_REPORT)
            return kind.parse(raw)
        except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
            return None
