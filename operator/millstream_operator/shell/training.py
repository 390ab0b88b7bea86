"""One look at one RecTraining: render its workers, ask them how it goes, write one status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream_api.rectraining import RecTrainingSpec, RecTrainingStatus
from millstream_operator.decide.training import (
    TrainingWorld,
    decide_training_status,
    wanted_workers,
)
from millstream_operator.decide.workloads import Circumstances
from millstream_operator.render.maintenance import render_maintenance
from millstream_operator.render.metadata import selector_text
from millstream_operator.render.training import model_name, render_training
from millstream_operator.shell.parents import read_resource
from millstream_operator.shell.transitions import flips
from millstream_operator.shell.workload_views import view_workload

if TYPE_CHECKING:
    from millstream_operator.shell.cache import Key
    from millstream_operator.shell.kinds import Body
    from millstream_operator.shell.workspace import Workspace

LOOK_SECONDS: Final = 3.0
IDLE_LOOK_SECONDS: Final = 60.0


async def reconcile_training(work: Workspace, key: Key, body: Body) -> float:
    """Bring one RecTraining forward; returns the seconds until it is worth looking again.

    Raises:
        InvalidObject: the object breaks a rule of this release.
        ApiError: try again.
    """
    training = read_resource(key, body, RecTrainingSpec, RecTrainingStatus)
    parent, spec = training.parent, training.spec
    problem = None
    if not training.paused:
        children = [
            *render_training(
                parent,
                spec,
                created=training.created,
                image=work.images.trainer,
                workers=wanted_workers(spec),
            ),
            render_maintenance(parent, spec, image=work.images.server),
        ]
        problem = await work.children.apply(key, parent, children)

    workers = await work.pods.workers(work.cache.pods(key))
    workload = view_workload(work.cache.get("StatefulSet", key.namespace, parent.child))
    status = decide_training_status(
        TrainingWorld(
            status=training.status,
            model=model_name(parent, spec),
            workers=workers,
            circumstances=Circumstances(training.generation, workload, problem, training.paused),
            selector=selector_text(parent),
        ),
        spec,
        work.wall(),
    )
    await work.statuses.write(key, training.body, training.status, status)
    work.metrics.observe(key, status)
    for told in flips(training.status.conditions, status.conditions):
        await work.events.record(parent, body["apiVersion"], told.kind, told.reason, told.message)
    return LOOK_SECONDS if workers else IDLE_LOOK_SECONDS
