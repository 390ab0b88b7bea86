"""Bringing the add-ons into a cluster: apply, wait until they are ready, and make their bucket."""

import json
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from devcluster import addons
from devcluster.commands import DevclusterError, run, tail

ROLLOUT_LIMIT = 120.0
EVENTS = "custom-columns=:.involvedObject.name,:.reason,:.message"


def install(kubectl: Path, kubeconfig: Path, manifests: list[addons.Manifest]) -> None:
    """Applies the add-ons and waits until their pods are ready."""
    command: list[str | Path] = [kubectl, "--kubeconfig", kubeconfig]
    listed = {"apiVersion": "v1", "kind": "List", "items": manifests}
    apply: list[str | Path] = ["apply", "--server-side", "--force-conflicts", "--filename", "-"]
    run([*command, *apply], seconds=60, feed=json.dumps(listed).encode())
    for namespace, name in addons.ROLLOUTS:
        if any(m["kind"] == "Deployment" and m["metadata"]["name"] == name for m in manifests):
            wait: list[str | Path] = [
                "rollout",
                "status",
                f"deployment/{name}",
                f"--timeout={ROLLOUT_LIMIT:.0f}s",
            ]
            try:
                run([*command, "--namespace", namespace, *wait], seconds=ROLLOUT_LIMIT + 20)
            except DevclusterError as late:
                events = ["get", "events", "--sort-by=.lastTimestamp", "--output", EVENTS]
                said = run([*command, "--namespace", namespace, *events], seconds=20)
                raise DevclusterError(f"{name} does not become ready:\n{tail(said)}") from late


def make_bucket() -> bool:
    """Makes the bucket for models; whether it is there now."""
    client = boto3.client(
        "s3",
        endpoint_url=addons.S3_URL,
        region_name=addons.S3_REGION,
        aws_access_key_id=addons.S3_CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=addons.S3_CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        config=Config(
            connect_timeout=2,
            read_timeout=5,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
            proxies={},
        ),
    )
    try:
        client.create_bucket(Bucket=addons.S3_BUCKET)
    except (client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
        return True
    except (BotoCoreError, ClientError):
        return False
    return True
