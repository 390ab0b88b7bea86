"""Brings children to what was rendered, with as few calls as possible and no stolen objects.

A child is applied when we have not applied exactly this to exactly that state of it: its
generation (or, where a kind has none, its resourceVersion) says whether somebody changed it
since. An object of the same name that belongs to somebody else is never touched.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import orjson

from millstream_api.conditions import Reason
from millstream_operator.decide.observed import Finding
from millstream_operator.decide.workloads import Problem
from millstream_operator.shell.errors import Forbidden, NotFound, Rejected
from millstream_operator.shell.kinds import BY_KIND

if TYPE_CHECKING:
    from millstream_operator.render.metadata import Parent
    from millstream_operator.shell.api import ApiClient
    from millstream_operator.shell.cache import Key, ObjectCache
    from millstream_operator.shell.kinds import Body


class ChildWriter:
    """Applies and removes children; belongs to one event loop."""

    def __init__(self, api: ApiClient, cache: ObjectCache) -> None:
        """Nothing is applied yet: the first pass applies everything once."""
        self._api = api
        self._cache = cache
        self._applied: dict[Key, dict[tuple[str, str], str]] = defaultdict(dict)

    async def apply(self, key: Key, parent: Parent, bodies: list[Body]) -> Problem | None:
        """Bring children to what they should be.

        Args:
            key: the parent.
            parent: the same, as rendered.
            bodies: the children, in the order in which they are applied.

        Returns:
            What a person should know, the first that was found; the other children are applied.

        Raises:
            ApiUnavailable, Conflict: try again.
        """
        problems: list[Problem] = []
        for body in bodies:
            try:
                problem = await self._apply(key, parent, body)
            except Rejected as error:
                problem = _failed(body, error.message, lasting=True)
            except Forbidden as error:  # a quota, an admission rule, or our own rights
                problem = _failed(body, error.message, lasting=False)
            if problem is not None:
                problems.append(problem)
        return problems[0] if problems else None

    async def remove(self, parent: Parent, kind: str, name: str) -> None:
        """Delete a child that is not wanted any more, if it is there and the parent's."""
        known = self._cache.get(kind, parent.namespace, name)
        if known is None or not _belongs(known, parent):
            return
        try:
            uid = known["metadata"]["uid"]
            await self._api.delete(BY_KIND[kind], parent.namespace, name, uid)
        except NotFound:
            pass
        self._cache.drop(kind, parent.namespace, name)

    def forget(self, key: Key) -> None:
        """The parent is gone, or all of its children are to be applied again."""
        self._applied.pop(key, None)

    async def _apply(self, key: Key, parent: Parent, body: Body) -> Problem | None:
        kind, name = BY_KIND[body["kind"]], body["metadata"]["name"]
        known = self._cache.get(kind.kind, parent.namespace, name)
        if known is None:
            # What lacks our labels is not in the cache, and must not be taken over unseen.
            try:
                known = await self._api.get(kind, parent.namespace, name)
            except NotFound:
                known = None
        if known is not None and not _belongs(known, parent):
            return Problem(_taken(known, body), lasting=True)
        wanted = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
        place = (kind.kind, name)
        applied = self._applied[key]
        if known is not None and applied.get(place) == _mark(wanted, known):
            return None
        after = await self._api.apply(kind, body)
        self._cache.put(after)
        applied[place] = _mark(wanted, after)
        return None


def _mark(wanted: str, body: Body) -> str:
    meta = body["metadata"]
    state = meta.get("generation") or meta.get("resourceVersion")
    return f"{wanted} {meta.get('uid')} {state}"


def _belongs(body: Body, parent: Parent) -> bool:
    owners = body["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") and owner["uid"] == parent.uid for owner in owners)


def _taken(known: Body, body: Body) -> Finding:
    owners = known["metadata"].get("ownerReferences") or ()
    owner = next(
        (f"{each['kind']} {each['name']}" for each in owners if each.get("controller")), ""
    )
    told = f"it belongs to {owner}" if owner else "it was not made by millstream"
    name = body["metadata"]["name"]
    return Finding(
        Reason.CHILD_CONFLICT,
        f"there is a {body['kind']} {name} already and {told}: rename or remove one of the two",
    )


def _failed(body: Body, message: str, *, lasting: bool) -> Problem:
    told = f"{body['kind']} {body['metadata']['name']} cannot be applied: {message}"
    return Problem(Finding(Reason.FAILED_CREATE, told), lasting=lasting)
