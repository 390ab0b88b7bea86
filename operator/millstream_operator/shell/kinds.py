"""The kinds that the operator reads or writes, and their addresses in the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millstream_api import names

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class KindInfo:
    """One kind of object."""

    group: str  # "" for the core group
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        """As in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """URL path of the collection, an object or a part of one; all namespaces where None."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


PARENTS: Final = (
    KindInfo(names.GROUP, names.API_VERSION, "RecTraining", "rectrainings"),
    KindInfo(names.GROUP, names.API_VERSION, "RecServing", "recservings"),
)
# In the order in which they are applied: what a pod refers to comes before it.
CHILDREN: Final = (
    KindInfo("", "v1", "ServiceAccount", "serviceaccounts"),
    KindInfo("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    KindInfo("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
    KindInfo("", "v1", "ConfigMap", "configmaps"),
    KindInfo("", "v1", "Service", "services"),
    KindInfo("apps", "v1", "StatefulSet", "statefulsets"),
    KindInfo("apps", "v1", "Deployment", "deployments"),
    KindInfo("batch", "v1", "CronJob", "cronjobs"),
    KindInfo("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
)
POD: Final = KindInfo("", "v1", "Pod", "pods")
SECRET: Final = KindInfo("", "v1", "Secret", "secrets")
EVENT: Final = KindInfo("", "v1", "Event", "events")
LEASE: Final = KindInfo("coordination.k8s.io", "v1", "Lease", "leases")

WATCHED: Final = (*PARENTS, *CHILDREN, POD)
BY_KIND: Final[Mapping[str, KindInfo]] = {
    info.kind: info for info in (*WATCHED, SECRET, EVENT, LEASE)
}

CHILD_SELECTOR: Final = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"

Body = dict[str, Any]


def is_same(left: Body, right: Body) -> bool:
    """Whether two copies are of one object: a name may have been given anew."""
    return bool(left["metadata"].get("uid") == right["metadata"].get("uid"))
