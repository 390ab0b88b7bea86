"""The API server for tests: synchronous, as the administrator, with deadlines instead of sleeps."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Self

import httpx

from millstream_operator.shell.access import load_access
from millstream_operator.shell.kinds import BY_KIND, KindInfo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Body = dict[str, Any]

EXTRA = {
    "ClusterRole": KindInfo("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles"),
    "ClusterRoleBinding": KindInfo(
        "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings"
    ),
    "CustomResourceDefinition": KindInfo(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions"
    ),
    "Job": KindInfo("batch", "v1", "Job", "jobs"),
    "Namespace": KindInfo("", "v1", "Namespace", "namespaces"),
    "ResourceQuota": KindInfo("", "v1", "ResourceQuota", "resourcequotas"),
}
KINDS = {**BY_KIND, **EXTRA}


class Refused(AssertionError):  # noqa: N818 - a state
    """The API server refused a request; `message` is its own."""

    def __init__(self, status: int, text: str) -> None:
        try:
            self.message = json.loads(text)["message"]
        except (ValueError, KeyError):
            self.message = text
        super().__init__(f"{status}: {self.message}")
        self.status = status


class Kube:
    """One client; use in a `with`."""

    def __init__(self, kubeconfig: Path) -> None:
        access = load_access(str(kubeconfig))
        self.server = access.server
        self.access = access
        self._client = httpx.Client(
            base_url=access.server,
            verify=access.tls(),
            headers=access.headers,
            timeout=15,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def request(self, method: str, path: str, **options: Any) -> Body:
        answer = self._client.request(method, path, **options)
        if answer.is_error:
            raise Refused(answer.status_code, answer.text)
        body: Body = answer.json()
        return body

    def apply(self, body: Body, manager: str = "tester", **query: str) -> Body:
        """Server-side apply with strict validation, as kubectl does it."""
        kind, meta = KINDS[body["kind"]], body["metadata"]
        return self.request(
            "PATCH",
            kind.path(meta.get("namespace"), meta["name"]),
            params={"fieldManager": manager, "force": "true", "fieldValidation": "Strict", **query},
            json=body,
            headers={"Content-Type": "application/apply-patch+yaml"},
        )

    def patch(
        self, kind: str, namespace: str, name: str, body: Body, subresource: str = ""
    ) -> Body:
        """A merge patch."""
        return self.request(
            "PATCH",
            KINDS[kind].path(namespace, name, subresource),
            json=body,
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def get(self, kind: str, namespace: str | None, name: str) -> Body:
        return self.request("GET", KINDS[kind].path(namespace, name))

    def find(self, kind: str, namespace: str | None, name: str) -> Body | None:
        try:
            return self.get(kind, namespace, name)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None, selector: str = "") -> list[Body]:
        params = {"labelSelector": selector} if selector else {}
        items: list[Body] = self.request("GET", KINDS[kind].path(namespace), params=params)["items"]
        return items

    def delete(
        self, kind: str, namespace: str | None, name: str, policy: str = "Background"
    ) -> None:
        self.request(
            "DELETE",
            KINDS[kind].path(namespace, name),
            json={"propagationPolicy": policy, "gracePeriodSeconds": 0}
            if kind == "Pod"
            else {"propagationPolicy": policy},
        )

    def annotate(self, kind: str, namespace: str, name: str, key: str, value: str | None) -> None:
        self.patch(kind, namespace, name, {"metadata": {"annotations": {key: value}}})


def eventually(
    check: Callable[[], Any], what: str, seconds: float = 20, explain: Callable[[], str] = str
) -> Any:
    """Wait until `check` gives something true and return it; a 404 counts as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except Refused as refused:
            # 429: the storage of a new kind is still being set up.
            if refused.status not in {404, 429}:
                raise
            found = None
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}\n{explain()}")
        time.sleep(0.05)
