"""What holds of everything that is rendered, whatever is asked."""

from __future__ import annotations

from typing import Any

import pytest

from millstream_api import names
from millstream_api.release import Release
from millstream_api.settings import ServerSettings, TrainerSettings
from millstream_api.tables import bytes_of
from millstream_operator.render.maintenance import render_maintenance
from millstream_operator.render.metadata import Parent, selector_labels
from millstream_operator.render.serving import render_release, render_serving
from millstream_operator.render.training import render_training
from tests.builders.features import DOCUMENTS, make_features
from tests.builders.resources import make_ref, make_serving_spec, make_training_spec

SERVING = Parent("RecServing", "ns", "shop", "uid-1")
TRAINING = Parent("RecTraining", "ns", "shop", "uid-2")


def serving(**spec: Any) -> list[dict[str, Any]]:
    return render_serving(SERVING, make_serving_spec(**spec), image="server:1")


def training(**spec: Any) -> list[dict[str, Any]]:
    return render_training(
        TRAINING, make_training_spec(**spec), created=1000.0, image="trainer:1", workers=1
    )


def template(bodies: list[dict[str, Any]]) -> dict[str, Any]:
    [found] = [body for body in bodies if body["kind"] in {"Deployment", "StatefulSet"}]
    return found["spec"]["template"]


def settings(bodies: list[dict[str, Any]]) -> str:
    [found] = [body for body in bodies if body["kind"] == "ConfigMap"]
    return found["data"][names.SETTINGS_KEY]


def maintenance(**spec: Any) -> dict[str, Any]:
    return render_maintenance(TRAINING, make_training_spec(**spec), image="server:1")


EVERY = [*serving(), *training(), maintenance(), render_release(SERVING, Release())]


@pytest.mark.parametrize(
    "body", EVERY, ids=lambda body: f"{body['kind']} {body['metadata']['name']}"
)
def test_every_child_goes_with_its_parent_and_wears_our_labels_only(body: dict[str, Any]):
    [owner] = body["metadata"]["ownerReferences"]
    assert owner["controller"]
    assert owner["blockOwnerDeletion"]
    assert owner["apiVersion"] == "millstream.dev/v1alpha1"
    assert set(body["metadata"]["labels"]) == {
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
        "app.kubernetes.io/managed-by",
    }
    assert "annotations" not in body["metadata"]


def test_children_of_both_kinds_have_different_names():
    of_serving = {(body["kind"], body["metadata"]["name"]) for body in serving()}
    of_training = {(body["kind"], body["metadata"]["name"]) for body in training()}
    assert not of_serving & of_training


def test_features_reach_the_workers():
    found = TrainerSettings.parse(
        settings(training(model={"features": DOCUMENTS, "featureDim": 16}))
    )
    assert found.features == make_features()
    assert found.feature_dim == 16


def test_without_features_the_settings_say_nothing_of_them():
    """Else every trainer would restart when the operator is updated."""
    assert "feature" not in settings(training())


@pytest.mark.parametrize("bodies", [serving(), training()], ids=["serving", "training"])
def test_pods_keep_to_the_restricted_standard(bodies: list[dict[str, Any]]):
    spec = template(bodies)["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_only_servers_get_a_token_and_only_for_their_release():
    assert template(training())["spec"]["automountServiceAccountToken"] is False
    assert template(serving())["spec"]["automountServiceAccountToken"] is True
    [role] = [body for body in serving() if body["kind"] == "Role"]
    [rule] = role["rules"]
    assert rule["resourceNames"] == ["shop-release"]
    assert not any(body["kind"] == "Role" for body in training())


@pytest.mark.parametrize("bodies", [serving(), training()], ids=["serving", "training"])
def test_credentials_come_from_the_secret_and_are_nowhere_else(bodies: list[dict[str, Any]]):
    [container] = template(bodies)["spec"]["containers"]
    found = {each["name"]: each.get("valueFrom") for each in container["env"]}
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert found[key] == {"secretKeyRef": {"name": "s3-credentials", "key": key}}
    assert "AWS" not in settings(bodies)


def test_new_settings_make_new_pods_and_the_same_do_not():
    assert template(serving()) == template(serving())
    changed = template(serving(rollout={"delta": {"shadowRequests": 7}}))
    assert changed == template(serving()), "the larger of both lanes counts"
    changed = template(serving(rollout={"delta": {"shadowRequests": 700}}))
    assert changed["metadata"] != template(serving())["metadata"]
    assert template(training(batchSize=8))["metadata"] != template(training())["metadata"]


def test_what_a_version_changes_is_in_no_pod_template():
    release = Release(epoch=9, stable=make_ref(3), candidate=make_ref(4), advanced=2)
    assert "0123456789ab" in str(render_release(SERVING, release))
    assert "0123456789ab" not in str(serving())


def test_replicas_and_the_budget_follow_the_spec():
    for replicas, budgets in ((0, 0), (1, 0), (2, 1), (9, 1)):
        bodies = serving(replicas=replicas)
        [deployment] = [body for body in bodies if body["kind"] == "Deployment"]
        assert deployment["spec"]["replicas"] == replicas
        assert sum(body["kind"] == "PodDisruptionBudget" for body in bodies) == budgets


def test_settings_are_what_the_programs_read():
    told = TrainerSettings.parse(settings(training(publish={"intervalSeconds": 15})))
    assert (told.model, told.publish_interval_seconds) == ("shop", 15)
    assert told.synthetic is not None
    assert told.synthetic.start == 1000.0, "the object's creation"
    server = ServerSettings.parse(settings(serving()))
    assert (server.model, server.release) == ("shop", "kube:ns/shop-release")


def test_a_start_that_is_asked_for_is_taken():
    spec = {"movielens": {"startTime": "1970-01-01T00:01:00Z"}}
    told = TrainerSettings.parse(settings(training(source=spec)))
    assert told.movielens is not None
    assert (told.movielens.start, told.synthetic) == (60.0, None)


@pytest.mark.parametrize(
    ("resources", "requests"),
    [
        ({}, {"cpu": "500m", "memory": "512Mi"}),
        ({"requests": {"cpu": "2"}}, {"cpu": "2", "memory": "512Mi"}),
        ({"limits": {"memory": "256Mi"}}, {"cpu": "500m"}),
        (
            {"requests": {"memory": "1Gi"}, "limits": {"memory": "256Mi"}},
            {"cpu": "500m", "memory": "1Gi"},
        ),
    ],
    ids=["nothing asked", "one request", "a limit below our request", "both"],
)
def test_requests_where_none_are_asked(resources: dict[str, Any], requests: dict[str, str]):
    [container] = template(serving(resources=resources))["spec"]["containers"]
    assert container["resources"]["requests"] == requests


def test_quantities_written_as_numbers_stay_as_they_are():
    [container] = template(serving(resources={"limits": {"nvidia.com/gpu": 1}}))["spec"][
        "containers"
    ]
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}


def test_rows_beyond_the_memory_budget_get_a_disk():
    """Three times what the tables may take: a base is copied, a version restored beside them."""
    memory = {"budget": "1Gi", "overflow": "3Gi"}
    pod = template(training(tables={"user": {"memory": memory}, "item": {"memory": memory}}))[
        "spec"
    ]
    [container] = pod["containers"]
    assert {"name": "overflow", "emptyDir": {"sizeLimit": "18432Mi"}} in pod["volumes"]
    assert {"name": "overflow", "mountPath": names.OVERFLOW_PATH} in container["volumeMounts"]
    assert container["resources"]["requests"]["ephemeral-storage"] == "18432Mi"
    assert "overflow" not in str(template(training()))


@pytest.mark.parametrize(
    ("size", "expected"), [("1Mi", 1 << 20), ("20Gi", 20 << 30), ("3Ti", 3 << 40)]
)
def test_sizes(size: str, expected: int):
    assert bytes_of(size) == expected


def job_of(body: dict[str, Any]) -> dict[str, Any]:
    return body["spec"]["jobTemplate"]["spec"]


def test_the_maintenance_of_a_store_keeps_to_the_restricted_standard():
    pod = job_of(maintenance())["template"]["spec"]
    assert pod["securityContext"] == template(training())["spec"]["securityContext"]
    [container], [trainer] = pod["containers"], template(training())["spec"]["containers"]
    assert container["securityContext"] == trainer["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_pods_of_the_maintenance_are_taken_for_no_worker():
    labels = job_of(maintenance())["template"]["metadata"]["labels"]
    assert not selector_labels(TRAINING).items() <= labels.items()
    assert "app.kubernetes.io/managed-by" not in labels, "the operator watches pods by it"


def test_a_run_of_the_maintenance_ends_before_its_uploads_look_abandoned():
    for grace in (600, 3600, 86_400):
        limit = job_of(maintenance(maintenance={"graceSeconds": grace}))["activeDeadlineSeconds"]
        assert 0 < limit <= grace / 2
    assert maintenance()["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_maintenance_works_on_the_store_that_is_trained_into():
    [container] = job_of(maintenance(model={"name": "movies"}))["template"]["spec"]["containers"]
    assert container["image"] == "server:1"
    assert {"--model=movies", "--store-bucket=models"} <= set(container["args"])
    told = {each["name"] for each in container["env"]}
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= told
