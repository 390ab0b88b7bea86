"""The chart's rights are enough, and none is there that is never used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders.operator_cluster import ACCOUNT, SYSTEM_NAMESPACE, helm_template
from tests.builders.resources import training_document
from tests.builders.s3_server import SECRET_KEY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.operator.conftest import Shop

pytestmark = pytest.mark.integration

USER = f"system:serviceaccount:{SYSTEM_NAMESPACE}:{ACCOUNT}"
Right = tuple[str, str, str]  # group, resource, verb


def granted() -> set[Right]:
    found = set()
    for body in helm_template("--set", "watchNamespaces={any}"):
        for rule in body.get("rules") or () if body["kind"] == "Role" else ():
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    found |= {(group, resource, verb) for verb in rule["verbs"]}
    return found


def used(audit_log: Path, namespaces: set[str]) -> dict[Right, dict[str, Any]]:
    """What the operator asked for, with one entry of the audit log for each."""
    found: dict[Right, dict[str, Any]] = {}
    for line in audit_log.read_text().splitlines():
        entry = json.loads(line)
        where = entry.get("objectRef")
        if entry["user"]["username"] != USER or where is None:
            continue
        if where.get("namespace") not in namespaces:
            continue
        resource = "/".join(part for part in (where["resource"], where.get("subresource")) if part)
        found[where.get("apiGroup", ""), resource, entry["verb"]] = entry
    return found


UNSEEN = {
    # No request of its own: it is what blockOwnerDeletion is checked against.
    ("millstream.dev", "rectrainings/finalizers", "update"),
    ("millstream.dev", "recservings/finalizers", "update"),
    # Only after somebody else changed the object in the wrong moment.
    ("millstream.dev", "rectrainings", "get"),
    ("millstream.dev", "recservings", "get"),
    # The audit policy leaves events out.
    ("", "events", "create"),
    ("", "events", "patch"),
}


def test_the_rights_used_are_the_rights_granted(running: Shop, audit_log: Path):
    """One life of both kinds, from apply to delete, under the audit log."""
    running.kube.apply(training_document(namespace=running.namespace))
    running.publisher.publish(2, 1)
    running.serves(2)
    running.apply(replicas=1)
    running.eventually(
        lambda: running.kube.find("PodDisruptionBudget", running.namespace, "shop-server") is None,
        "the budget is removed",
    )
    running.eventually(
        lambda: running.kube.find("StatefulSet", running.namespace, "shop-trainer"), "it trains"
    )
    running.kube.delete("RecServing", running.namespace, "shop")
    running.eventually(
        lambda: running.kube.find("Deployment", running.namespace, "shop-server") is None,
        "all is gone",
        40,
    )
    running.operator.stop()

    seen = used(audit_log, {running.namespace, SYSTEM_NAMESPACE})
    refused = [right for right, entry in seen.items() if entry["responseStatus"]["code"] == 403]
    assert not refused
    # Applying creates what is not there: the API server asks for both rights and logs one.
    creating = {
        (group, resource, "create")
        for group, resource, verb in granted()
        if verb == "create" and (group, resource, "patch") in seen
    }
    assert set(seen) | creating | UNSEEN == granted()
    assert not any('"level": "ERROR"' in line for line in running.operator.log().splitlines())


def test_no_secret_is_ever_shown(running: Shop):
    """The store's credentials are nowhere but in their Secret."""
    running.publisher.publish(2, 1)
    running.serves(2)
    shown = running.operator.log_file.read_text()
    for kind in ("RecServing", "ConfigMap", "Deployment", "Event"):
        shown += json.dumps(running.kube.list(kind, running.namespace))
    assert SECRET_KEY not in shown
