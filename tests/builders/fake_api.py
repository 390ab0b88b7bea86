"""The API server in memory: what the operator's own client does, and failures on demand."""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any

from millstream_operator.shell.errors import ApiError, Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from millstream_operator.shell.kinds import KindInfo

Body = dict[str, Any]


class FakeApi:
    """Has the methods of ApiClient that parts of the shell use; applies merge and never prune."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Body] = {}
        self.calls: list[tuple[str, str, str]] = []  # verb, kind, name
        self.fail_with: ApiError | None = None
        self.fail_on: str | None = None  # only calls about this kind fail
        self._versions = itertools.count(1)

    def seed(self, body: Body) -> Body:
        """Put an object there as somebody else would."""
        return self._store(copy.deepcopy(body))

    async def get(self, kind: KindInfo, namespace: str, name: str) -> Body:
        self._called("get", kind, name)
        return copy.deepcopy(self._known(kind, namespace, name))

    async def list(
        self,
        kind: KindInfo,
        namespace: str | None,
        selector: str = "",  # noqa: ARG002
    ) -> AsyncIterator[Body]:
        self._called("list", kind, "")
        for (known, where, _), body in list(self.objects.items()):
            if known == kind.kind and namespace in {None, where}:
                yield copy.deepcopy(body)

    async def apply(
        self,
        kind: KindInfo,
        body: Body,
        manager: str = "",  # noqa: ARG002
        subresource: str = "",
    ) -> Body:
        meta = body["metadata"]
        self._called(f"apply {subresource}".strip(), kind, meta["name"])
        known = self.objects.get((kind.kind, meta["namespace"], meta["name"]))
        if known is None and subresource:
            raise NotFound("no such object", 404)
        for field in ("uid", "resourceVersion"):
            if known is not None and field in meta and meta[field] != known["metadata"][field]:
                raise Conflict(f"{field} differs", 409)
        merged = {**copy.deepcopy(known or {}), **copy.deepcopy(body)}
        if known is not None:
            merged["metadata"] = {**known["metadata"], **meta}
        return copy.deepcopy(self._store(merged))

    async def create(self, kind: KindInfo, body: Body) -> Body:
        meta = body["metadata"]
        self._called("create", kind, meta["name"])
        if (kind.kind, meta["namespace"], meta["name"]) in self.objects:
            raise Conflict("exists", 409)
        return copy.deepcopy(self._store(copy.deepcopy(body)))

    async def replace(self, kind: KindInfo, body: Body) -> Body:
        meta = body["metadata"]
        self._called("replace", kind, meta["name"])
        known = self._known(kind, meta["namespace"], meta["name"])
        if known["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise Conflict("changed", 409)
        return copy.deepcopy(self._store(copy.deepcopy(body)))

    async def delete(self, kind: KindInfo, namespace: str, name: str, uid: str) -> None:
        self._called("delete", kind, name)
        if self._known(kind, namespace, name)["metadata"]["uid"] != uid:
            raise Conflict("another object", 409)
        del self.objects[kind.kind, namespace, name]

    def writes(self) -> list[tuple[str, str, str]]:
        return [call for call in self.calls if call[0] not in {"get", "list"}]

    def _called(self, verb: str, kind: KindInfo, name: str) -> None:
        self.calls.append((verb, kind.kind, name))
        if self.fail_with is not None and self.fail_on in {None, kind.kind}:
            raise self.fail_with

    def _known(self, kind: KindInfo, namespace: str, name: str) -> Body:
        known = self.objects.get((kind.kind, namespace, name))
        if known is None:
            raise NotFound(f"no {kind.kind} {name}", 404)
        return known

    def _store(self, body: Body) -> Body:
        meta = body["metadata"]
        key = (body["kind"], meta["namespace"], meta["name"])
        before = self.objects.get(key)
        if before is not None and _content(before) == _content(body):
            return before
        meta["uid"] = before["metadata"]["uid"] if before else f"uid-{next(self._versions)}"
        meta["resourceVersion"] = str(next(self._versions))
        if "spec" in body:
            generation = before["metadata"].get("generation", 0) if before else 0
            changed = before is None or before.get("spec") != body["spec"]
            meta["generation"] = generation + int(changed)
        self.objects[key] = body
        return body


def _content(body: Body) -> Body:
    own = {"uid", "resourceVersion", "generation", "managedFields"}
    meta = {key: value for key, value in body["metadata"].items() if key not in own}
    return {**body, "metadata": meta}
