"""The status of a RecTraining: what its workers report, in conditions.

Values that move with every event are in the workers' metrics; here they are bands, and figures
of quality are taken once for each version published, so that a status changes when something
happened and not because time goes by.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from millstream_api.conditions import Claim, Reason, Type, claim, fails, holds, merge, unclear
from millstream_api.rectraining import RecTrainingStatus, ValidationStatus
from millstream_api.resources import at
from millstream_operator.decide.bands import lag_band, utilization_band
from millstream_operator.decide.observed import Finding
from millstream_operator.decide.workloads import Problem, paused_claim, roll_up

if TYPE_CHECKING:
    from millstream_api.rectraining import RecTrainingSpec
    from millstream_api.reports import Progress
    from millstream_operator.decide.workloads import Circumstances


# What a worker says before it has asked the store anything.
_NOT_ASKED: Final = frozenset({"NotMet", "NotAsked"})


@dataclass(frozen=True)
class Worker:
    """One trainer pod."""

    name: str
    ready: bool
    progress: Progress | None  # None: it did not answer
    problem: str = ""  # why its container does not run


@dataclass(frozen=True)
class TrainingWorld:
    """One RecTraining and its world at one moment."""

    status: RecTrainingStatus
    model: str
    workers: tuple[Worker, ...]
    circumstances: Circumstances
    selector: str = ""


def wanted_workers(spec: RecTrainingSpec) -> int:
    """How many workers there should be: this version trains with one at most."""
    if spec.suspend:
        return 0
    return spec.elastic_policy.min_replicas if spec.elastic_policy else (spec.replicas or 1)


def decide_training_status(
    world: TrainingWorld, spec: RecTrainingSpec, now: float
) -> RecTrainingStatus:
    """The whole status after this pass.

    Args:
        world: the RecTraining and what its workers say.
        spec: what is asked.
        now: Unix seconds.
    """
    before = world.status
    generation = world.circumstances.generation
    progress = next((each.progress for each in world.workers if each.progress), None)
    ready = sum(each.ready for each in world.workers)
    published = _published(before, world.model, progress)
    claims = (
        *roll_up(world.circumstances, _lacking(world, spec, published, ready), _fine(spec)),
        _available(spec, ready),
        _checkpoint_healthy(spec, progress, published),
        _store_reachable(progress),
        *_scaling_active(spec),
        _suspended(spec),
        *paused_claim(world.circumstances),
    )
    return published.model_copy(
        update={
            "observed_generation": generation,
            "conditions": merge(before.conditions, claims, generation=generation, now=at(now)),
            "replicas": len(world.workers),
            "ready_replicas": ready,
            "selector": world.selector,
            "workers": f"{ready}/{wanted_workers(spec)}",
            "utilization": utilization_band(
                progress.busy_ratio if progress else None, before.utilization
            ),
            "lag": lag_band(progress.lag_seconds if progress else None, before.lag),
        }
    )


def _published(
    before: RecTrainingStatus, model: str, progress: Progress | None
) -> RecTrainingStatus:
    """The newest version: what the worker says, else what was known of the same model."""
    known = before if before.model == model else RecTrainingStatus(model=model)
    newest = progress.published if progress is not None else None
    if progress is None or newest is None:
        return known
    if (newest.lineage, newest.version) == (known.lineage, known.version):
        return known
    watermark = progress.published_watermark
    return RecTrainingStatus(
        model=model,
        lineage=newest.lineage,
        version=newest.version,
        published_at=None if progress.published_at is None else at(progress.published_at),
        # A version that has learned nothing new is as fresh as the one before.
        watermark=known.watermark if watermark is None else at(watermark.last),
        validation=_validation(progress),
    )


def _validation(progress: Progress) -> ValidationStatus | None:
    """None where nothing is measured: of an object that loses all its fields apply makes null."""
    if progress.auc is None and progress.log_loss is None:
        return None
    return ValidationStatus(
        auc=_rounded(progress.auc),
        log_loss=_rounded(progress.log_loss),
        conversion_auc=_rounded(progress.conversion_auc),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _fine(spec: RecTrainingSpec) -> Finding:
    if spec.suspend:
        return Finding(Reason.SUSPENDED, "training is suspended, as spec.suspend asks")
    return Finding(Reason.WORKERS_READY, "all workers train and versions are published")


def _lacking(
    world: TrainingWorld, spec: RecTrainingSpec, published: RecTrainingStatus, ready: int
) -> Problem | None:
    wanted = wanted_workers(spec)
    if spec.suspend:
        if not world.workers:
            return None
        told = f"{len(world.workers)} workers are still ending"
        return Problem(Finding(Reason.WAITING_FOR_WORKERS, told), lasting=False)
    if world.circumstances.workload.refused:
        found = Finding(Reason.FAILED_CREATE, world.circumstances.workload.refused)
        return Problem(found, lasting=False)
    troubled = sorted(f"{each.name}: {each.problem}" for each in world.workers if each.problem)
    if ready < wanted and troubled:
        return Problem(Finding(Reason.WORKER_FAILING, "; ".join(troubled[:3])), lasting=False)
    if ready < wanted:
        told = f"{ready} of {wanted} workers train"
        return Problem(Finding(Reason.WAITING_FOR_WORKERS, told), lasting=False)
    if published.version is None:
        told = "the first version is not published yet"
        return Problem(Finding(Reason.WAITING_FOR_VERSION, told), lasting=False)
    if not world.circumstances.workload.current:
        told = "workers are being replaced by what the spec asks"
        return Problem(Finding(Reason.APPLYING, told), lasting=False)
    return None


def _available(spec: RecTrainingSpec, ready: int) -> Claim:
    if spec.suspend:
        return fails(Type.AVAILABLE, Reason.SUSPENDED, "training is suspended")
    if ready >= wanted_workers(spec):
        return holds(Type.AVAILABLE, Reason.WORKERS_READY, "all workers train")
    return fails(Type.AVAILABLE, Reason.WAITING_FOR_WORKERS, "not all workers train")


def _checkpoint_healthy(
    spec: RecTrainingSpec, progress: Progress | None, published: RecTrainingStatus
) -> Claim:
    kind = Type.CHECKPOINT_HEALTHY
    if spec.suspend:
        return unclear(kind, Reason.SUSPENDED, "nothing is published while suspended")
    if progress is None:
        return unclear(kind, Reason.WAITING_FOR_WORKERS, "no worker says how it goes")
    if progress.store.reason in _NOT_ASKED:
        return unclear(kind, Reason.NOT_CHECKED, progress.store.message)
    if not progress.store.ok:
        told = f"versions cannot be published, training goes on: {progress.store.message}"
        return fails(kind, progress.store.reason, told)
    if published.version is None:
        return unclear(kind, Reason.WAITING_FOR_VERSION, "no version is published yet")
    return holds(kind, Reason.CHECKPOINT_COMMITTED, "versions are being published")


def _store_reachable(progress: Progress | None) -> Claim:
    if progress is None:
        return unclear(Type.STORE_REACHABLE, Reason.NOT_CHECKED, "no worker says how it goes")
    store = progress.store
    if store.reason in _NOT_ASKED:
        return unclear(Type.STORE_REACHABLE, Reason.NOT_CHECKED, store.message)
    return claim(Type.STORE_REACHABLE, known=store.ok, reason=store.reason, message=store.message)


def _scaling_active(spec: RecTrainingSpec) -> tuple[Claim, ...]:
    policy = spec.elastic_policy
    if policy is None or policy.max_replicas == policy.min_replicas:
        return ()
    told = f"this version trains with {policy.min_replicas} worker and does not scale yet"
    return (fails(Type.SCALING_ACTIVE, Reason.ONE_WORKER_ONLY, told),)


def _suspended(spec: RecTrainingSpec) -> Claim:
    if spec.suspend:
        return holds(Type.SUSPENDED, Reason.SUSPENDED, "spec.suspend is true")
    return fails(Type.SUSPENDED, Reason.NOT_SUSPENDED, "spec.suspend is false")
