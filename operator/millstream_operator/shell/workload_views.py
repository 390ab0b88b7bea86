"""How a StatefulSet's or a Deployment's controller gets on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream_operator.decide.workloads import Workload

if TYPE_CHECKING:
    from millstream_operator.shell.kinds import Body


def view_workload(body: Body | None) -> Workload:
    """Read a StatefulSet or Deployment; None where it is not there yet."""
    if body is None:
        return Workload()
    status = body.get("status") or {}
    wanted = body["spec"].get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= body["metadata"].get("generation", 1)
    updated = status.get("updatedReplicas", 0) >= wanted and status.get("replicas", 0) <= wanted
    refused = next(
        (
            each.get("message", "")
            for each in status.get("conditions") or ()
            if each["type"] == "ReplicaFailure" and each["status"] == "True"
        ),
        "",
    )
    return Workload(current=seen and updated, refused=refused)
