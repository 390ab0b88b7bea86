"""One look at one RecServing: gather, decide, render, apply, one status write.

    cache, pods, store ──► Observed ──► decide_rollout ──► status ──► release ConfigMap
                                                             │
    children are applied beside it                           └──► channel `stable`, events

The status is written first and the ConfigMap that servers follow second: whatever is in force
is then remembered, and a process that dies in between finds the release in the status and goes
on. If the status cannot be written, nothing moves forward, but users still get back what they
had: of status and ConfigMap, the higher epoch is the release in force.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from millstream_api import names
from millstream_api.conditions import Reason
from millstream_api.recserving import RecServingSpec, RecServingStatus
from millstream_api.release import Release
from millstream_operator.decide.observed import Finding, Observed, StoreView
from millstream_operator.decide.rollout import RolloutDecision, decide_rollout
from millstream_operator.decide.serving import decide_serving_status
from millstream_operator.decide.states import recalled
from millstream_operator.decide.wishes import asked_number
from millstream_operator.decide.workloads import Circumstances
from millstream_operator.render.metadata import selector_text
from millstream_operator.render.serving import release_name, render_release, render_serving
from millstream_operator.render.training import store_settings
from millstream_operator.shell.announcing import Announcement, holder_of
from millstream_operator.shell.credentials import Credentials
from millstream_operator.shell.errors import ApiError, Conflict, NotFound
from millstream_operator.shell.parents import Resource, read_resource
from millstream_operator.shell.store import Place, Question
from millstream_operator.shell.transitions import flips, steps
from millstream_operator.shell.workload_views import view_workload

if TYPE_CHECKING:
    from millstream_operator.shell.cache import Key
    from millstream_operator.shell.kinds import Body
    from millstream_operator.shell.workspace import Workspace

log = logging.getLogger(__name__)

Serving = Resource[RecServingSpec, RecServingStatus]
PAUSED_LOOK_SECONDS: Final = 10.0


async def reconcile_serving(work: Workspace, key: Key, body: Body) -> float:
    """Bring one RecServing forward; returns the seconds until it is worth looking again.

    Raises:
        InvalidObject: the object breaks a rule of this release.
        ApiError: try again.
    """
    serving = read_resource(key, body, RecServingSpec, RecServingStatus)
    place = await _place(work, serving)
    problem = None
    if not serving.paused:
        children = render_serving(serving.parent, serving.spec, image=work.images.server)
        problem = await work.children.apply(key, serving.parent, children)
        if serving.spec.replicas <= 1:
            await work.children.remove(serving.parent, "PodDisruptionBudget", serving.parent.child)

    observed = await _gather(work, serving, place)
    now = work.wall()
    decision = _decide(serving, observed, now)
    announced = _announce(work, serving, place, decision, now)
    workload = work.cache.get("Deployment", key.namespace, serving.parent.child)
    status = decide_serving_status(
        observed,
        decision,
        Circumstances(serving.generation, view_workload(workload), problem, serving.paused),
        selector_text(serving.parent),
        announced,
        now,
    )
    await _put_in_force(work, serving, decision, status)
    work.metrics.observe(key, status)
    began = serving.status.rollout
    work.metrics.observe_rollout(
        key, decision, None if began is None else began.started_at.timestamp(), now
    )
    api_version = serving.body["apiVersion"]
    for told in (*steps(decision), *flips(serving.status.conditions, status.conditions)):
        await work.events.record(serving.parent, api_version, told.kind, told.reason, told.message)
    return decision.wake_after


async def _place(work: Workspace, serving: Serving) -> Place | Finding:
    """The model in its store, or what is wrong with the credentials."""
    store = serving.spec.store
    found = await work.credentials.read(serving.key.namespace, store.credentials_secret_ref.name)
    if not isinstance(found, Credentials):
        return found
    return Place(store_settings(store), serving.spec.model.name, found.access_key, found.secret_key)


async def _gather(work: Workspace, serving: Serving, place: Place | Finding) -> Observed:
    """Everything that the rollout is decided on."""
    release = _in_force(work, serving)
    rollback_to = serving.annotations.get(names.ANNOTATION_ROLLBACK_TO)
    replicas = await work.pods.replicas(work.cache.pods(serving.key))
    if isinstance(place, Finding):
        store = StoreView(place, reachable=False)
    else:
        question = Question(
            place,
            release.stable,
            release.quarantined,
            asked_number(rollback_to, serving.spec.version_policy.pin),
            holder_of(serving.parent.uid),
        )
        store = await work.stores.view(
            serving.key, question, serving.spec.version_policy.poll_seconds
        )
    return Observed(
        uid=serving.parent.uid,
        status=serving.status,
        release=release,
        replicas=replicas,
        wanted_replicas=serving.spec.replicas,
        store=store,
        rollback_to=rollback_to,
    )


def _in_force(work: Workspace, serving: Serving) -> Release:
    """The release of the highest epoch: what servers follow, or are about to."""
    remembered = serving.status.release or Release()
    name = release_name(serving.parent)
    config_map = work.cache.get("ConfigMap", serving.key.namespace, name)
    if config_map is None:
        return remembered
    owners = config_map["metadata"].get("ownerReferences") or ()
    if not any(owner["uid"] == serving.parent.uid for owner in owners):
        return remembered  # left by an earlier object of this name
    try:
        told = Release.parse((config_map.get("data") or {}).get(names.RELEASE_KEY, "{}"))
    except ValidationError:
        return remembered
    return told if told.epoch > remembered.epoch else remembered


def _decide(serving: Serving, observed: Observed, now: float) -> RolloutDecision:
    if not serving.paused:
        return decide_rollout(observed, now, serving.spec)
    why = Finding(Reason.PAUSED_BY_ANNOTATION, "the rollout stands still, as the annotation asks")
    return RolloutDecision(recalled(observed, now), why, PAUSED_LOOK_SECONDS)


def _announce(
    work: Workspace, serving: Serving, place: Place | Finding, decision: RolloutDecision, now: float
) -> str:
    """Tell the store what is stable; returns what it was last told."""
    # What this pass decides is told only once it is remembered, by the next pass.
    release = serving.status.release if decision.transition else decision.state.release
    if release is None or serving.paused or isinstance(place, Finding):
        return serving.status.announced
    if release.stable is None and not release.quarantined:
        return serving.status.announced
    told = Announcement(
        release.stable,
        release.quarantined,
        decision.why.reason,
        holder_of(serving.parent.uid),
        release.wanted(),
    )
    if told.digest == serving.status.announced:
        return serving.status.announced
    done = work.stores.announce(serving.key, place, told, now)
    return done or serving.status.announced


async def _put_in_force(
    work: Workspace,
    serving: Serving,
    decision: RolloutDecision,
    status: RecServingStatus,
) -> None:
    """Remember what was decided, then let servers have it."""
    release = decision.state.release
    try:
        await work.statuses.write(serving.key, serving.body, serving.status, status)
    except (Conflict, NotFound):
        raise
    except ApiError as error:
        if decision.urgent:
            log.warning("%s: the status cannot be written, rolling back all the same", serving.key)
            await _apply_release(work, serving, release)
        raise error from None
    if not serving.paused:
        await _apply_release(work, serving, release)


async def _apply_release(work: Workspace, serving: Serving, release: Release) -> None:
    problem = await work.children.apply(
        serving.key, serving.parent, [render_release(serving.parent, release)]
    )
    if problem is not None:
        raise ApiError(problem.finding.message)
