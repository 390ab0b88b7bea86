"""Names, labels and owners of what the operator creates.

Children get the recommended labels and nothing of their parent's: labels and annotations that
other tools put on a parent (a tracking id of Argo CD, say) would make those tools adopt or prune
the children.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from millstream_api import names

Manifest = dict[str, Any]
Component = Literal["trainer", "server"]
Kind = Literal["RecTraining", "RecServing"]

COMPONENTS: Final[dict[Kind, Component]] = {"RecTraining": "trainer", "RecServing": "server"}
KINDS: Final[dict[str, Kind]] = {component: kind for kind, component in COMPONENTS.items()}
ANNOTATION_SETTINGS: Final = f"{names.GROUP}/settings"


@dataclass(frozen=True)
class Parent:
    """The custom resource that children belong to."""

    kind: Kind
    namespace: str
    name: str
    uid: str

    @property
    def component(self) -> Component:
        """What its pods are called."""
        return COMPONENTS[self.kind]

    @property
    def child(self) -> str:
        """Name of most of its children."""
        return f"{self.name}-{self.component}"


def selector_labels(parent: Parent) -> dict[str, str]:
    """The labels that select the parent's pods."""
    return {
        names.LABEL_NAME: names.MANAGED_BY,
        names.LABEL_INSTANCE: parent.name,
        names.LABEL_COMPONENT: parent.component,
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
    }


def selector_text(parent: Parent) -> str:
    """The same as a label selector in one string."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector_labels(parent).items()))


def child(parent: Parent, api_version: str, kind: str, name: str, **body: Any) -> Manifest:
    """An object that belongs to the parent and goes with it."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": parent.namespace,
            "labels": selector_labels(parent),
            "ownerReferences": [
                {
                    "apiVersion": names.GROUP_VERSION,
                    "kind": parent.kind,
                    "name": parent.name,
                    "uid": parent.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        **body,
    }
